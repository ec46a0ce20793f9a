//! Who injects the faults of a phase into its servers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::phases::Fault;
use crate::proxy::{Proxy, Weather};
use crate::servers::Memcached;
use crate::worker::Failed;

/// The store's nodes, and the proxies of the phase.
#[derive(Debug)]
pub(crate) struct Nemesis {
    fault: Fault,
    pub(crate) nodes: Vec<Memcached>,
    pub(crate) node_proxy: Option<Proxy>,
    pub(crate) database_proxy: Option<Proxy>,
    /// When the next step is due, and which it is.
    next: Option<Instant>,
    step: usize,
    filling: Arc<AtomicBool>,
    fillers: Vec<std::thread::JoinHandle<()>>,
    /// Where `-e` keeps a node's memory, which must be on a file system in memory.
    memory: Option<PathBuf>,
    count: u64,
}

impl Nemesis {
    /// Starts two fresh nodes, and the proxies.
    pub(crate) fn prepare(
        fault: Fault,
        binary: &Path,
        tmp: &Path,
        runtime: &tokio::runtime::Handle,
        database: u16,
    ) -> Result<Self, Failed> {
        let (mut extra, mut memory): (Vec<String>, _) = (vec!["-m".into(), "64".into()], None);
        if fault == Fault::Evict {
            // A plain LRU, so that a busy item is not kept apart from those that push it out.
            extra = ["-m", "2", "-o", "no_modern"].map(String::from).to_vec();
        }
        if fault == Fault::Restored {
            let file = PathBuf::from("/dev/shm").join(format!("cachesweeper-chaos-{}", std::process::id()));
            extra.extend(["-e".into(), file.display().to_string()]);
            memory = Some(file);
        }
        let mut nodes = vec![];
        for number in 0..2 {
            // One file serves one node.
            let arguments: Vec<&str> =
                extra.iter().map(String::as_str).take(if number == 1 && memory.is_some() { 2 } else { extra.len() }).collect();
            nodes.push(Memcached::start(binary, tmp, &arguments)?);
        }
        let node_proxy = if matches!(fault, Fault::Node(_)) { Some(Proxy::start(runtime, nodes[0].port)?) } else { None };
        let database_proxy = if matches!(fault, Fault::Database(_)) { Some(Proxy::start(runtime, database)?) } else { None };
        Ok(Self {
            fault,
            nodes,
            node_proxy,
            database_proxy,
            next: None,
            step: 0,
            filling: Arc::default(),
            fillers: Vec::new(),
            memory,
            count: 0,
        })
    }

    /// The nodes, as workers are told them. The one behind the proxy is the first: whoever waits for it must not miss the other.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let first = self.node_proxy.as_ref().map_or_else(|| self.nodes[0].address(), |proxy| format!("127.0.0.1:{}", proxy.port));
        vec![first, self.nodes[1].address()]
    }

    /// The faults begin.
    pub(crate) fn begin(&mut self) -> Result<(), Failed> {
        self.next = Some(Instant::now());
        match self.fault {
            Fault::Node(weather) => self.change(true, weather),
            Fault::Database(weather) => self.change(false, weather),
            Fault::NodeDown => {
                self.nodes[1].kill();
                self.count += 1;
            }
            Fault::Evict => {
                self.filling.store(true, Ordering::SeqCst);
                for node in &self.nodes {
                    let (port, filling) = (node.port, self.filling.clone());
                    self.fillers.push(std::thread::spawn(move || fill(port, &filling)));
                }
            }
            Fault::None | Fault::Restart | Fault::Flush | Fault::Restored => {}
        }
        Ok(())
    }

    fn change(&self, node: bool, weather: Weather) {
        if let Some(proxy) = if node { &self.node_proxy } else { &self.database_proxy } {
            proxy.set(weather);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) -> Result<(), Failed> {
        let Some(due) = self.next else { return Ok(()) };
        if Instant::now() < due {
            return Ok(());
        }
        let node = self.step / 2 % 2;
        let pause = match (self.fault, self.step % 2) {
            (Fault::Restart, 0) => {
                self.nodes[node].kill();
                self.count += 1;
                150
            }
            (Fault::Restart, _) => {
                self.nodes[node].up()?;
                // The quarantine, and a moment with a cache.
                1_900
            }
            (Fault::Flush, _) => {
                let answer = self.nodes[node].say("flush_all")?;
                if answer != "OK" {
                    return Err(format!("memcached answers flush_all with {answer:?}").into());
                }
                self.count += 1;
                900
            }
            (Fault::Restored, _) => self.restore()?,
            _ => 60_000,
        };
        self.step += 1;
        self.next = Some(Instant::now() + Duration::from_millis(pause));
        Ok(())
    }

    /// First the memory is saved, and goes on; later it comes back as it was then.
    fn restore(&mut self) -> Result<u64, Failed> {
        let Some(file) = self.memory.clone() else { return Ok(60_000) };
        let (meta, saved) = (file.with_extension("meta"), file.with_extension("saved"));
        let saved_meta = file.with_extension("saved.meta");
        // memcached names it `FILE.meta`.
        let meta = if meta.exists() { meta } else { PathBuf::from(format!("{}.meta", file.display())) };
        self.nodes[0].save()?;
        if self.step == 0 {
            std::fs::copy(&file, &saved)?;
            std::fs::copy(&meta, &saved_meta)?;
        } else {
            std::fs::copy(&saved, &file)?;
            std::fs::copy(&saved_meta, &meta)?;
            self.count += 1;
        }
        if rustix::process::geteuid().is_root() {
            std::process::Command::new("chown").arg("nobody").args([&file, &meta]).status()?;
        }
        self.nodes[0].up()?;
        Ok(if self.step == 0 { 2_500 } else { 60_000 })
    }

    /// How many faults there were, those of the proxies included.
    pub(crate) fn faults(&self) -> u64 {
        self.count + self.node_proxy.iter().chain(&self.database_proxy).map(Proxy::faults).sum::<u64>()
    }

    /// The faults end; what is down is started.
    pub(crate) fn end(&mut self) -> Result<(), Failed> {
        self.next = None;
        self.change(true, Weather::Fair);
        self.change(false, Weather::Fair);
        self.filling.store(false, Ordering::SeqCst);
        for filler in self.fillers.drain(..) {
            let _ = filler.join();
        }
        for node in &mut self.nodes {
            if node.stat("pid").is_err() {
                node.up()?;
            }
            if self.fault == Fault::Evict {
                self.count += node.stat("evictions")?.parse::<u64>().unwrap_or_default();
            }
        }
        Ok(())
    }
}

impl Drop for Nemesis {
    fn drop(&mut self) {
        self.filling.store(false, Ordering::SeqCst);
        if let Some(file) = &self.memory {
            self.nodes.clear();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&name) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Stores other items of the sizes that logs and fragments have, so many that each is pushed out in less than a hold. The marker
/// and the shortest logs are smaller, and stay: without a marker nothing would ever be served.
fn fill(port: u16, filling: &AtomicBool) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut number = 0_u64;
    while filling.load(Ordering::SeqCst) {
        let mut batch = String::new();
        for _ in 0..200 {
            number += 1;
            // With their keys and headers these fill the slab classes of 152, 192, 240 and 304 bytes.
            let len = [78, 118, 165, 228][number as usize % 4];
            batch.push_str(&format!("set other/{number} 0 0 {len} noreply\r\n{:len$}\r\n", ""));
        }
        batch.push_str("version\r\n");
        let mut answer = [0; 64];
        if stream.write_all(batch.as_bytes()).is_err() || stream.read(&mut answer).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
