//! Private memcacheds: on 127.0.0.1, on free ports, stopped when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// memcached's own default of worker threads.
pub const THREADS: u32 = 4;

/// A memcached of its own. It runs on the cores that this process is pinned to.
#[derive(Debug)]
pub struct Memcached {
    address: String,
    process: Child,
}

/// What a memcached says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Items in it, those that are dead included.
    pub items: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Items that had to go for others.
    pub evictions: u64,
}

impl Memcached {
    /// Starts one of this many MiB, with so many worker threads. Each connection belongs to one of them.
    ///
    /// # Errors
    ///
    /// If memcached is not installed, or does not come up within 10 s.
    pub fn start(mib: u32, threads: u32) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (address, port) = (format!("127.0.0.1:{port}"), port.to_string());
        // Even if this process is killed, no server stays behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if rustix::process::geteuid().is_root() {
            // memcached refuses to run as root. Its own `-u` would undo the line above.
            let (user, group) = (id_of_nobody("-u")?, id_of_nobody("-g")?);
            command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
        }
        // `-U 0`: no UDP.
        command.args(["memcached", "-l", "127.0.0.1", "-U", "0", "-c", "2048", "-p", &port]);
        command.args(["-m", &mib.to_string(), "-t", &threads.to_string()]).current_dir("/");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.map_err(|error| format!("setpriv cannot be started ({error}): it is part of util-linux"))?;
        let mut server = Self { address, process };
        let until = Instant::now() + Duration::from_secs(10);
        while server.version().is_err() {
            if Instant::now() > until || server.process.try_wait()?.is_some() {
                return Err("memcached did not come up: is it installed?".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Its `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its version.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn version(&self) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"version\r\nquit\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.trim().strip_prefix("VERSION ").ok_or("it is no memcached")?.to_owned())
    }

    /// Its own statistics.
    ///
    /// # Errors
    ///
    /// If it does not answer, or with something else.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.write_all(b"stats\r\nquit\r\n")?;
        let mut usage = Usage::default();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let mut words = line.split_whitespace().skip(1);
            let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
            match name {
                "curr_items" => usage.items = value.parse()?,
                "bytes" => usage.bytes = value.parse()?,
                "evictions" => usage.evictions = value.parse()?,
                _ => {}
            }
        }
        Ok(usage)
    }
}

fn id_of_nobody(which: &str) -> Result<u32, Failure> {
    let output = Command::new("id").args([which, "nobody"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse().map_err(|_| "there is no user `nobody`")?)
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It keeps nothing that would have to be written.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
