//! What every measurement needs: a store, the memory peak, memcached's own counters.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachesweeper_core::store::Store;
use cachesweeper_core::store::memcached::{MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::memory::MemoryStore;
use cachesweeper_core::{RecordKey, SystemClock, blocking};
use clap::Args;

use crate::Failure;

/// Bytes of the memory store: enough for the logs of several million records.
const MEMORY: u64 = 2 << 30;

/// Where logs and fragments are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// A memcached server, as host:port. Without it: the memory store.
    #[arg(long)]
    pub(crate) memcached: Option<String>,
}

impl Place {
    pub(crate) fn word(&self) -> &'static str {
        if self.memcached.is_some() { "memcached" } else { "memory" }
    }

    /// The store itself, to look into it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.memcached {
            None => Arc::new(MemoryStore::new(MEMORY, Arc::new(SystemClock))),
            Some(server) => {
                Arc::new(MemcachedStore::new(&MemcachedOptions { servers: vec![server.clone()], timeout: Duration::from_secs(1) }))
            }
        }
    }

    /// A blocking sweeper, past the quarantine of a new node.
    pub(crate) fn sweeper(&self, store: Arc<dyn Store>) -> Result<blocking::Sweeper, Failure> {
        let sweeper = blocking::Sweeper::builder().store(store).namespace("limits").graph(Default::default()).build()?;
        warm_up(&sweeper)?;
        Ok(sweeper)
    }

    /// Bytes that memcached has read and written so far.
    pub(crate) fn traffic(&self) -> Result<Traffic, Failure> {
        let Some(server) = &self.memcached else { return Ok(Traffic::default()) };
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(b"stats\r\n")?;
        let mut traffic = Traffic::default();
        for line in BufReader::new(stream).lines() {
            let line = line?;
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["STAT", "bytes_read", value] => traffic.to = value.parse()?,
                ["STAT", "bytes_written", value] => traffic.from = value.parse()?,
                ["END"] => break,
                _ => {}
            }
        }
        Ok(traffic)
    }
}

/// Bytes to and from memcached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) to: u64,
    pub(crate) from: u64,
}

impl Traffic {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { to: self.to - before.to, from: self.from - before.from }
    }
}

/// Waits until the store's nodes are used: a new one is bypassed for the longest hold.
pub(crate) fn warm_up(sweeper: &blocking::Sweeper) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let render = || Ok::<_, std::convert::Infallible>("warm");
        let served = sweeper.fragment(RecordKey::new("warmup", 1), "warmup").get_or_render(render)?;
        if served.outcome().word() != "bypass" {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("the store is bypassed for 30 s: {:?}", served.outcome()).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The largest memory that this process has had, in MiB (`VmHWM`).
pub(crate) fn memory_peak() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the kernel tells no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib >> 10)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
