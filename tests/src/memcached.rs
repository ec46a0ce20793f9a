//! Real memcached servers: the shared ones of `tests/run`, and private ones for tests that kill them.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where a test keeps its fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the process.
    Memory,
    /// On one memcached.
    One,
    /// On two.
    Two,
}

impl Placement {
    /// The servers; `None` if there are not enough of them in `CACHESWEEPER_TEST_MEMCACHED`.
    pub fn servers(self) -> Option<Vec<String>> {
        let count = match self {
            Self::Memory => return Some(Vec::new()),
            Self::One => 1,
            Self::Two => 2,
        };
        let all = std::env::var("CACHESWEEPER_TEST_MEMCACHED").ok()?;
        let servers: Vec<String> = all.split(',').take(count).map(ToOwned::to_owned).collect();
        (servers.len() == count).then_some(servers)
    }
}

/// A private memcached. Stopped when dropped.
#[derive(Debug)]
pub struct Memcached {
    child: Child,
    port: u16,
    arguments: Vec<String>,
}

impl Memcached {
    /// Starts one; `None` if `CACHESWEEPER_TEST_MEMCACHED_BIN` is not set.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        Self::start_on(port, arguments.iter().map(|&argument| argument.to_owned()).collect())
    }

    fn start_on(port: u16, arguments: Vec<String>) -> Option<Self> {
        let binary = std::env::var("CACHESWEEPER_TEST_MEMCACHED_BIN").ok()?;
        let mut command = Command::new(binary);
        command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-u", "nobody"]).args(&arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("memcached starts");
        let server = Self { child, port, arguments };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "memcached does not listen on {port}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(server)
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        *self = Self::start_on(self.port, self.arguments.clone()).expect("it was started before");
    }

    /// Sends one command and returns the first line of the answer.
    pub fn command(&self, line: &str) -> String {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("answered");
        answer.trim_end().to_owned()
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
