//! A TCP proxy that cuts, delays, half-closes and silences connections.
//!
//! It never makes a message land later than it is allowed to: that would break a condition of the promises. What is older is
//! dropped, and its connection with it.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::servers::free_port;
use crate::worker::Failed;

/// What it does to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Cuts connections at one in this many pieces, sometimes in the middle of one.
    Cut(u32),
    /// Holds every piece back for up to this long.
    Delay(Duration),
    /// Ends one direction of a connection at one in this many pieces; the other goes on.
    HalfClose(u32),
    /// Takes everything, passes nothing on, and keeps connections open.
    Silent,
    /// Cuts connections at everything that appends to a memcached item, before it arrives.
    CutAppends,
    /// Cuts one in this many connections at its COMMIT: before it arrives, or before its answer does.
    CutCommits(u32),
}

/// A proxy in front of one server.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: Arc<Mutex<Weather>>,
    faults: Arc<AtomicU64>,
}

/// The oldest piece that is still passed on.
const TOO_OLD: Duration = Duration::from_millis(800);

impl Proxy {
    /// Listens, on a runtime's thread.
    pub(crate) fn start(runtime: &tokio::runtime::Handle, upstream: u16) -> Result<Self, Failed> {
        let port = free_port()?;
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let proxy = Self { port, weather: Arc::new(Mutex::new(Weather::Fair)), faults: Arc::default() };
        let serving = proxy.clone();
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        runtime.spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serving.clone().serve(client, upstream));
                }
            }
        });
        Ok(proxy)
    }

    pub(crate) fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// How many pieces were not passed on as they came.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, client: TcpStream, upstream: u16) {
        // Who cannot be connected further is hung up on.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let cut = Arc::new(Notify::new());
        let up = self.clone().pump(from_client, to_server, true, cut.clone());
        let down = self.pump(from_server, to_client, false, cut.clone());
        tokio::select! {
            // A cut takes both directions with it; the end of one does not.
            () = cut.notified() => {}
            _ = async { tokio::join!(up, down) } => {}
        }
    }

    async fn pump(self, mut from: OwnedReadHalf, to: OwnedWriteHalf, up: bool, cut: Arc<Notify>) {
        // Pieces are stamped when they come, so that none waits for those before it and then for itself.
        let (sender, receiver) = mpsc::unbounded_channel();
        let writing = self.clone().pass_on(to, receiver, up, cut.clone());
        let reading = async move {
            let mut buffer = vec![0; 16 << 10];
            loop {
                match from.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(len) => drop(sender.send((Instant::now(), buffer[..len].to_vec()))),
                    Err(_) => {
                        cut.notify_one();
                        break;
                    }
                }
            }
        };
        tokio::join!(reading, writing);
    }

    async fn pass_on(self, mut to: OwnedWriteHalf, mut pieces: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>, up: bool, cut: Arc<Notify>) {
        let (mut commit_cut, mut closed, mut silent) = (false, false, false);
        while let Some((came, piece)) = pieces.recv().await {
            let mut sent = piece.len();
            let one_in = |count: u32| fastrand::u32(..count.max(1)) == 0;
            match self.weather() {
                Weather::Fair => {}
                Weather::Cut(count) if one_in(count) => {
                    self.fault();
                    sent = fastrand::usize(..=piece.len());
                    let _ = to.write_all(&piece[..sent]).await;
                    return cut.notify_one();
                }
                Weather::Delay(longest) => {
                    self.fault();
                    tokio::time::sleep_until(came + longest.mul_f64(fastrand::f64())).await;
                }
                Weather::HalfClose(count) if !closed && one_in(count) => {
                    self.fault();
                    closed = true;
                    let _ = to.shutdown().await;
                }
                Weather::Silent => {
                    self.fault();
                    silent = true;
                }
                Weather::CutAppends if up && contains(&piece, b" MA") => {
                    self.fault();
                    return cut.notify_one();
                }
                Weather::CutCommits(count) if up && contains(&piece, b"COMMIT") && one_in(count) => {
                    self.fault();
                    if fastrand::bool() {
                        return cut.notify_one();
                    }
                    commit_cut = true;
                }
                _ => {}
            }
            if came.elapsed() > TOO_OLD {
                return cut.notify_one();
            }
            // For good: what came after it would be no beginning of anything.
            if silent {
                continue;
            }
            if !closed && to.write_all(&piece[..sent]).await.is_err() {
                return cut.notify_one();
            }
            if commit_cut {
                // It has arrived; its answer will not.
                return cut.notify_one();
            }
        }
        let _ = to.shutdown().await;
    }
}

fn contains(piece: &[u8], word: &[u8]) -> bool {
    piece.windows(word.len()).any(|window| window == word)
}
