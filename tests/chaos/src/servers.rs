//! The servers that faults are injected into: private ones, on 127.0.0.1, in a temporary folder.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::worker::Failed;

/// A program that is stopped when this is dropped, and dies with the orchestrator whatever becomes of that.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// How it is asked to stop.
    ask: Signal,
}

/// A command that dies with its parent's thread, and runs as `user` if we are root: most servers refuse root.
fn command(user: &str, program: &Path, folder: &Path) -> Result<Command, Failed> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.arg(format!("--reuid={}", id(user, "-u")?)).arg(format!("--regid={}", id(user, "-g")?)).arg("--init-groups");
    }
    command.arg(program).current_dir(folder).env("LC_ALL", "C").env("HOME", folder).env("TMPDIR", folder).stdin(Stdio::null());
    Ok(command)
}

fn id(user: &str, which: &str) -> Result<String, Failed> {
    let output = Command::new("id").args([which, user]).output()?;
    if !output.status.success() {
        return Err(format!("there is no user {user}: install the server's package").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A folder that a server may write to.
fn folder(parent: &Path, name: &str, user: &str) -> Result<PathBuf, Failed> {
    let folder = parent.join(name);
    std::fs::create_dir(&folder)?;
    if rustix::process::geteuid().is_root() && !Command::new("chown").arg(format!("{user}:")).arg(&folder).status()?.success() {
        return Err(format!("{} could not be given to {user}", folder.display()).into());
    }
    Ok(folder)
}

/// Below 32768, where no outgoing connection is given its port: a server that is restarted must find it free.
pub(crate) fn free_port() -> Result<u16, Failed> {
    for _ in 0..1_000 {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port was found between 20000 and 32000".into())
}

impl Server {
    fn start(mut command: Command, log: &Path, ask: Signal) -> Result<Self, Failed> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        Ok(Self { child: child.map_err(|error| format!("setpriv (util-linux) could not be run: {error}"))?, ask })
    }

    /// Waits until `ready` says so.
    fn wait_for(&mut self, what: &str, log: &Path, mut ready: impl FnMut() -> bool) -> Result<(), Failed> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{what} ended at its start ({status}): {log}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{what} did not come up within a minute").into())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(self.ask);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One memcached, which can be killed and started again on its port.
#[derive(Debug)]
pub(crate) struct Memcached {
    server: Option<Server>,
    binary: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    pub(crate) port: u16,
}

impl Memcached {
    pub(crate) fn start(binary: &Path, folder: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut node = Self { server: None, binary: binary.to_owned(), folder: folder.to_owned(), arguments, port: free_port()? };
        node.up()?;
        Ok(node)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it.
    pub(crate) fn up(&mut self) -> Result<(), Failed> {
        let log = self.folder.join("memcached.log");
        let mut command = command("nobody", &self.binary, Path::new("/"))?;
        command.args(["-l", "127.0.0.1", "-U", "0", "-c", "1024", "-t", "2", "-p", &self.port.to_string()]).args(&self.arguments);
        let mut server = Server::start(command, &log, Signal::KILL)?;
        let pid = server.child.id().to_string();
        // The pid proves that it is ours that answers on this port.
        server.wait_for("memcached", &log, || self.stat("pid").is_ok_and(|found| found == pid))?;
        self.server = Some(server);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// Asks it to write its memory down and to end; for `-e`.
    pub(crate) fn save(&mut self) -> Result<(), Failed> {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::USR1);
            server.child.wait()?;
        }
        Ok(())
    }

    /// Sends a command and returns the first line of the answer.
    pub(crate) fn say(&self, line: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    /// One of its statistics.
    pub(crate) fn stat(&self, name: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"stats\r\n")?;
        let begin = format!("STAT {name} ");
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if let Some(value) = line.strip_prefix(&begin) {
                return Ok(value.to_owned());
            }
            if line == "END" {
                break;
            }
        }
        Err(io::Error::other(format!("memcached does not tell its {name}")))
    }
}

/// A database server of either kind, and a database of ours on it.
#[derive(Debug)]
pub(crate) struct DatabaseServer {
    server: Option<Server>,
    /// What it was reached by at first.
    admin: String,
    name: String,
    pub(crate) url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    Postgres,
    MariaDb,
}

impl DatabaseKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }
}

impl DatabaseServer {
    /// The one that `tests/run` has started, or a new one.
    pub(crate) fn start(kind: DatabaseKind, tmp: &Path) -> Result<Self, Failed> {
        let variable = match kind {
            DatabaseKind::Postgres => "CACHESWEEPER_TEST_POSTGRES",
            DatabaseKind::MariaDb => "CACHESWEEPER_TEST_MYSQL",
        };
        match (std::env::var(variable), kind) {
            (Ok(url), _) => Self::on(None, url),
            (_, DatabaseKind::Postgres) => Self::postgres(tmp),
            (_, DatabaseKind::MariaDb) => Self::mariadb(tmp),
        }
    }

    /// Makes a database of ours.
    fn on(server: Option<Server>, admin: String) -> Result<Self, Failed> {
        let name = format!("chaos_{}", std::process::id());
        crate::db::Db::open(&admin)?.batch_execute(&format!("CREATE DATABASE {name}"))?;
        let (address, _) = admin.rsplit_once('/').ok_or_else(|| format!("{admin}: there is no database in it"))?;
        Ok(Self { server, url: format!("{address}/{name}"), admin, name })
    }

    fn postgres(tmp: &Path) -> Result<Self, Failed> {
        let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map_or_else(|_| Vec::new(), |versions| versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect());
        found.sort_by_key(|path| path.parent().and_then(|path| path.file_name()?.to_str()?.parse::<u32>().ok()));
        let bin = found.pop().ok_or("PostgreSQL is not installed: there is nothing in /usr/lib/postgresql")?;
        let (folder, port) = (folder(tmp, "postgres", "postgres")?, free_port()?);
        let (data, log) = (folder.join("data"), tmp.join("postgres.log"));
        let mut setup = command("postgres", &bin.join("initdb"), &folder)?;
        setup.arg("-D").arg(&data).args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        finish(setup, "initdb", &log)?;
        let mut command = command("postgres", &bin.join("postgres"), &folder)?;
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        let sockets = format!("unix_socket_directories={}", folder.display());
        for setting in ["listen_addresses=127.0.0.1", &sockets, "fsync=off", "max_connections=200"] {
            command.args(["-c", setting]);
        }
        let mut server = Server::start(command, &log, Signal::QUIT)?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        server.wait_for("PostgreSQL", &log, || crate::db::Db::open(&url).is_ok())?;
        Self::on(Some(server), url)
    }

    fn mariadb(tmp: &Path) -> Result<Self, Failed> {
        let (folder, port) = (folder(tmp, "mariadb", "mysql")?, free_port()?);
        let (data, log) = (folder.join("data"), tmp.join("mariadb.log"));
        let data = format!("--datadir={}", data.display());
        let mut setup = command("mysql", Path::new("mariadb-install-db"), &folder)?;
        setup.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", &data]);
        finish(setup, "mariadb-install-db", &log)?;
        let begin = tmp.join("mariadb.sql");
        std::fs::write(
            &begin,
            "CREATE DATABASE chaos;\nCREATE USER 'chaos'@'127.0.0.1' IDENTIFIED BY 'chaos';\nGRANT ALL PRIVILEGES ON *.* TO 'chaos'@'127.0.0.1';\n",
        )?;
        let program =
            ["/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/sbin/mariadbd"].into_iter().find(|path| Path::new(path).exists());
        let mut command = command("mysql", Path::new(program.unwrap_or("mariadbd")), &folder)?;
        command.args(["--no-defaults", &data, "--bind-address=127.0.0.1", "--skip-networking=0", "--skip-name-resolve"]).args([
            format!("--socket={}", folder.join("sock").display()),
            format!("--pid-file={}", folder.join("pid").display()),
            format!("--init-file={}", begin.display()),
            format!("--port={port}"),
            "--character-set-server=utf8mb4".to_owned(),
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
            "--max-connections=200".to_owned(),
        ]);
        let mut server = Server::start(command, &log, Signal::KILL)?;
        let url = format!("mysql://chaos:chaos@127.0.0.1:{port}/chaos");
        server.wait_for("MariaDB", &log, || crate::db::Db::open(&url).is_ok())?;
        Self::on(Some(server), url)
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        // On a server of ours it goes with its folder.
        if self.server.is_none()
            && let Ok(mut admin) = crate::db::Db::open(&self.admin)
        {
            let force = if self.admin.starts_with("postgres") { " WITH (FORCE)" } else { "" };
            let _ = admin.batch_execute(&format!("DROP DATABASE {}{force}", self.name));
        }
    }
}

/// Runs a command to its end.
fn finish(mut command: Command, what: &str, log: &Path) -> Result<(), Failed> {
    let output = command.output()?;
    std::fs::write(log, [&output.stdout[..], &output.stderr[..]].concat())?;
    if !output.status.success() {
        return Err(format!("{what} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
