//! Private servers: on 127.0.0.1, on free ports, with their data in a temporary folder, and stopped when dropped.
//!
//! They end with the thread that started them, whatever becomes of it.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Why a server could not be started.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is asked to stop when it is dropped, and killed 10 s later.
#[derive(Debug)]
pub struct Process {
    /// It.
    pub child: Child,
    /// How it is asked: `kill`'s name of a signal.
    pub ask: &'static str,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let told = Command::new("kill").args(["-s", self.ask, &self.child.id().to_string()]).status();
        let until = Instant::now() + Duration::from_secs(10);
        while told.is_ok() && Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is stopped when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it is: host:port for memcached, a URL for PostgreSQL.
    pub address: String,
    _process: Process,
    _folder: TempDir,
}

fn id_of(user: &str, which: &str) -> Result<u32, Failure> {
    let output = Command::new("id").args([which, user]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse().map_err(|_| format!("there is no user {user}"))?)
}

fn is_root() -> Result<bool, Failure> {
    Ok(String::from_utf8(Command::new("id").arg("-u").output()?.stdout)?.trim() == "0")
}

/// A command that ends with us.
///
/// ```no_run
/// let listing = cachesweeper_servers::ending_with_us(std::path::Path::new("/bin/ls")).output();
/// ```
pub fn ending_with_us(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).stdin(Stdio::null());
    command
}

/// A command that ends with us, and runs as `user` if we are root: the servers refuse root.
fn as_user(user: &str, program: &Path) -> Result<Command, Failure> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if is_root()? {
        let (uid, gid) = (id_of(user, "-u")?, id_of(user, "-g")?);
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".into()]);
    }
    command.arg("--").arg(program).stdin(Stdio::null()).current_dir("/");
    Ok(command)
}

/// Below 32768, where no outgoing connection is given its port.
fn free_port() -> Result<u16, Failure> {
    let mut ports = (0..1_000).map(|_| fastrand::u16(20_000..32_000));
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).ok_or_else(|| "no free port between 20000 and 32000".into())
}

/// A folder that every user may pass through.
fn folder() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("cachesweeper.").tempdir()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// Starts a server that stops on SIGINT, and waits until `ready` says so.
fn start(what: &str, mut command: Command, folder: TempDir, address: String, ready: impl Fn() -> bool) -> Result<Server, Failure> {
    let path = folder.path().join("log");
    let log = File::create(&path)?;
    let child = command.stdout(log.try_clone()?).stderr(log).spawn();
    let child = child.map_err(|error| format!("setpriv (util-linux) could not be run: {error}"))?;
    let mut process = Process { child, ask: "INT" };
    let until = Instant::now() + PATIENCE;
    loop {
        let (is_ready, ended) = (ready(), process.child.try_wait()?);
        let problem = match ended {
            Some(status) => format!("{what} ended at its start ({status})"),
            None if is_ready => return Ok(Server { address, _process: process, _folder: folder }),
            None if Instant::now() > until => format!("{what} did not answer within {} s", PATIENCE.as_secs()),
            None => {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        return Err(format!("{problem}: {}", std::fs::read_to_string(path).unwrap_or_default().trim_end()).into());
    }
}

/// A memcached of this many MiB, which takes this many connections.
///
/// # Errors
///
/// If it is not installed, or does not come up.
pub fn memcached(mib: u32, connections: u32) -> Result<Server, Failure> {
    let port = free_port()?;
    let (port_text, mib, connections) = (port.to_string(), mib.to_string(), connections.to_string());
    let mut command = as_user("nobody", Path::new("memcached"))?;
    command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port_text, "-m", &mib, "-c", &connections]);
    let address = format!("127.0.0.1:{port}");
    start("memcached", command, folder()?, address.clone(), || answers_version(&address).is_ok())
}

fn answers_version(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"version\r\n")?;
    stream.read_exact(&mut [0; 7])
}

/// The newest installed PostgreSQL's programs; Debian keeps them out of PATH.
fn postgres_programs() -> Result<PathBuf, Failure> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map_err(|_| "PostgreSQL is not installed: apt-get install postgresql")?;
    let found = versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).filter(|programs| programs.join("initdb").exists());
    let version = |programs: &PathBuf| programs.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    found.max_by_key(version).ok_or_else(|| "PostgreSQL's server is not installed: apt-get install postgresql".into())
}

/// A PostgreSQL with an empty database, and these settings beside the defaults, each as `name=value`. So it waits for the disk at
/// every COMMIT, unless a setting says otherwise.
///
/// # Errors
///
/// If it is not installed, or does not come up.
pub fn postgres(settings: &[&str]) -> Result<Server, Failure> {
    let (programs, folder, port) = (postgres_programs()?, folder()?, free_port()?);
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    if is_root()? {
        chown(&data, Some(id_of("postgres", "-u")?), Some(id_of("postgres", "-g")?))?;
    }
    std::fs::set_permissions(&data, Permissions::from_mode(0o700))?;
    let mut initdb = as_user("postgres", &programs.join("initdb"))?;
    initdb.arg("-D").arg(&data).args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    let made = initdb.output()?;
    if !made.status.success() {
        return Err(format!("initdb has failed: {}", String::from_utf8_lossy(&made.stderr).trim_end()).into());
    }
    let mut command = as_user("postgres", &programs.join("postgres"))?;
    command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    let sockets = format!("unix_socket_directories={}", data.display());
    for setting in ["listen_addresses=127.0.0.1", &sockets].iter().chain(settings) {
        command.args(["-c", setting]);
    }
    let address = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    start("PostgreSQL", command, folder, address, || {
        let mut ask = Command::new(programs.join("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
    })
}
