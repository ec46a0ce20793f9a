//! Private servers: on 127.0.0.1, on free ports, with their data in a temporary folder, and stopped when dropped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Failure;

/// A server that is stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: String,
    process: Child,
    _folder: Option<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT: PostgreSQL's fast shutdown, and memcached's end.
        let told = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        let until = Instant::now() + Duration::from_secs(10);
        while told.is_ok() && Instant::now() < until && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn id_of(user: &str, which: &str) -> Result<u32, Failure> {
    let output = Command::new("id").args([which, user]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse().map_err(|_| format!("there is no user {user}"))?)
}

fn is_root() -> Result<bool, Failure> {
    Ok(String::from_utf8(Command::new("id").arg("-u").output()?.stdout)?.trim() == "0")
}

/// A command that runs as `user` if we are root (the servers refuse root), and ends with us.
fn as_user(user: &str, program: &Path) -> Result<Command, Failure> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if is_root()? {
        let (uid, gid) = (id_of(user, "-u")?, id_of(user, "-g")?);
        command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".into()]);
    }
    command.arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    Ok(command)
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(30);
    while !ready() {
        if Instant::now() > until {
            return Err(format!("{what} did not come up within 30 s").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A memcached of this many MiB, which takes this many connections.
pub(crate) fn memcached(mib: u32, connections: u32) -> Result<Server, Failure> {
    let port = free_port()?;
    let (port_text, mib, connections) = (port.to_string(), mib.to_string(), connections.to_string());
    let mut command = as_user("nobody", Path::new("memcached"))?;
    command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port_text, "-m", &mib, "-c", &connections]);
    let server = Server { address: format!("127.0.0.1:{port}"), process: command.spawn()?, _folder: None };
    wait_for("memcached", || answers_version(&server.address).is_ok())?;
    Ok(server)
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
    let mut found: Vec<PathBuf> = versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect();
    found.retain(|programs| programs.join("initdb").exists());
    found.sort();
    found.pop().ok_or_else(|| "PostgreSQL's server is not installed: apt-get install postgresql".into())
}

/// A PostgreSQL with an empty database. It writes to disk as by default, but for `fsync`.
pub(crate) fn postgres() -> Result<Server, Failure> {
    let (programs, folder, port) = (postgres_programs()?, tempfile::tempdir()?, free_port()?);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
    let data = folder.path().join("data");
    std::fs::create_dir(&data)?;
    if is_root()? {
        chown(&data, Some(id_of("postgres", "-u")?), Some(id_of("postgres", "-g")?))?;
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700))?;
    let mut initdb = as_user("postgres", &programs.join("initdb"))?;
    let made =
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]).status()?;
    if !made.success() {
        return Err("initdb has failed".into());
    }
    let mut command = as_user("postgres", &programs.join("postgres"))?;
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    command.args(["-c", "max_wal_size=4GB", "-c", &format!("unix_socket_directories={}", data.display())]);
    let address = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let server = Server { address, process: command.spawn()?, _folder: Some(folder) };
    wait_for("PostgreSQL", || {
        let mut ask = Command::new(programs.join("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
    })?;
    Ok(server)
}
