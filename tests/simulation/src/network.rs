//! The network between a process and the nodes: an [`AsyncStore`] that sends what the memcached store would send.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachesweeper_core::store::memcached::cut::{Piece, Replace, by_node, cut, in_order};
use cachesweeper_core::store::{AsyncStore, BoxFuture, Op, Reply, StoreError, StoreInfo};
use cachesweeper_core::version::VersionLog;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::node::{Answer, Command, commands};
use crate::world::{Link, World};

/// The store as one process sees it.
pub struct Network {
    world: Arc<World>,
    life: usize,
    slot: usize,
    info: StoreInfo,
}

impl Network {
    /// The store of this life of a process.
    pub fn new(world: Arc<World>, life: usize) -> Self {
        let nodes = (0..world.knobs.nodes).map(|node| format!("cache{node}:11211").into()).collect();
        let max_item = world.knobs.max_item;
        let info = StoreInfo { kind: "simulated", nodes, keeps_holds: false, shared: true, max_item };
        let slot = world.state().lives[life].slot;
        Self { world, life, slot, info }
    }

    async fn share(&self, node: usize, ops: Vec<(usize, &Op)>) -> Vec<(usize, Reply)> {
        let mut replies = Vec::with_capacity(ops.len());
        for piece in cut(ops, self.info.max_item) {
            match piece {
                Piece::Exchange(ops) => replies.extend(self.run_ops(node, &ops).await),
                Piece::Replace { position, replace } => replies.push((position, self.replace(node, &replace).await)),
                Piece::TooLarge { position } => replies.push((position, Reply::TooLarge)),
            }
        }
        replies
    }

    async fn run_ops(&self, node: usize, ops: &[(usize, &Op)]) -> Vec<(usize, Reply)> {
        let (mut wire, mut places) = (Vec::new(), Vec::new());
        for (position, op) in ops {
            wire.extend(commands(op));
            places.push((*position, wire.len() - 1));
        }
        let (answers, error) = self.exchange(node, wire, None).await;
        let reply = |place: usize| match (answers.get(place), &error) {
            (Some(Answer::Value(value, _)), _) => Reply::Value(value.clone()),
            (Some(Answer::Done), _) => Reply::Done,
            (Some(Answer::No), _) => Reply::No,
            (None, Some(cause)) => Reply::Failed(self.down(node, cause)),
            (None, None) => Reply::Failed(self.down(node, "it left an operation unanswered")),
        };
        places.into_iter().map(|(position, place)| (position, reply(place))).collect()
    }

    fn down(&self, node: usize, cause: &str) -> StoreError {
        StoreError::down(&self.info.nodes[node], cause)
    }

    /// Read and swap, on one connection: its CAS id is worth nothing on another.
    async fn replace(&self, node: usize, replace: &Replace) -> Reply {
        let incarnation = self.world.state().nodes[node].incarnation;
        let (answers, error) = self.exchange(node, vec![Command::Gets(replace.key.clone())], Some(incarnation)).await;
        let cas = match (answers.first(), error) {
            (_, Some(cause)) => return Reply::Failed(self.down(node, cause)),
            (Some(Answer::Value(value, cas)), None) if *value == replace.expected => *cas,
            _ => return Reply::No,
        };
        let swap = Command::Swap(replace.key.clone(), cas, replace.value.clone(), replace.ttl);
        let (answers, error) = self.exchange(node, vec![swap], Some(incarnation)).await;
        match (answers.first(), error) {
            (_, Some(cause)) => Reply::Failed(self.down(node, cause)),
            (Some(Answer::Done), None) => Reply::Done,
            _ => Reply::No,
        }
    }

    /// Sends commands on a connection that nobody else uses meanwhile, and waits for their answers. With `connected`, the
    /// connection is to that incarnation of the node.
    async fn exchange(&self, node: usize, wire: Vec<Command>, connected: Option<u64>) -> (Vec<Answer>, Option<&'static str>) {
        let world = &self.world;
        world.step(self.life).await;
        let (link, up, incarnation) = {
            let state = world.state();
            (state.links[self.slot][node], state.nodes[node].up, state.nodes[node].incarnation)
        };
        if !up || link == Link::Refused || connected.is_some_and(|connected| connected != incarnation) {
            world.pause(2).await;
            world.step(self.life).await;
            return (Vec::new(), Some("connection refused"));
        }
        let (reply, answered) = oneshot::channel();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let gone = Gone(Arc::default());
        let flight = Flight {
            world: world.clone(),
            slot: self.slot,
            life: self.life,
            node,
            incarnation,
            // A proxy may hold a message back across a restart, but never one with a CAS id.
            bound: connected.is_some() || world.chance(700),
            gone: gone.0.clone(),
            answers: answers.clone(),
        };
        tokio::spawn(flight.deliver(wire, reply));
        let result = tokio::time::timeout(Duration::from_millis(world.knobs.store_timeout), answered).await;
        drop(gone);
        world.step(self.life).await;
        let answers = std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner));
        let error = match result {
            Ok(Ok(())) => return (answers, None),
            Ok(Err(_)) => "the connection was closed",
            Err(_) => "no answer in time",
        };
        // What was answered before the connection broke may have been read.
        let read = if world.chance(500) { 0 } else { world.below(answers.len() as u64 + 1) };
        let read = usize::try_from(read).unwrap_or(0);
        (answers.into_iter().take(read).collect(), Some(error))
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({})", self.life)
    }
}

impl AsyncStore for Network {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run<'a>(&'a self, batch: &'a [Op]) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(async move {
            let count = batch.len();
            let shares = by_node(self.info.nodes.len(), batch).into_iter().enumerate().filter(|(_, share)| !share.is_empty());
            let answered = join_all(shares.map(|(node, share)| self.share(node, share))).await;
            in_order(count, answered.into_iter().flatten())
        })
    }
}

/// Tells the network that nobody waits for an answer any more.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Messages on their way, which outlive who sent them.
struct Flight {
    world: Arc<World>,
    slot: usize,
    life: usize,
    node: usize,
    incarnation: u64,
    bound: bool,
    gone: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Flight {
    async fn deliver(self, wire: Vec<Command>, reply: oneshot::Sender<()>) {
        let world = &self.world;
        let sent = world.elapsed();
        let landing = world.landing();
        let (count, mishaps) = (wire.len() as u64, world.knobs.mishaps);
        // Of the commands, from which on they are late, or lost.
        let late = world.mishap(mishaps).then(|| world.below(count));
        let lost = world.mishap(mishaps).then(|| world.below(count));
        let mute = world.mishap(mishaps);
        if late.is_some() {
            world.fault("late message");
        }
        if lost.is_some() || mute {
            world.fault("lost message or reply");
        }
        let (mut left, mut abandoned) = (count, false);
        let slow = if world.state().slow { 60 } else { 2 };
        world.pause(slow).await;
        for (place, command) in wire.into_iter().enumerate() {
            let place = place as u64;
            if lost == Some(place) {
                return;
            }
            if late == Some(place) {
                world.pause(landing / 1000).await;
            } else if world.chance(150) {
                world.pause(1).await;
            }
            while matches!(world.state().links[self.slot][self.node], Link::Silent) {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            if world.elapsed() > sent + landing {
                return;
            }
            if self.gone.load(Ordering::SeqCst) && !abandoned {
                // Who sent it has closed the connection: what is written lands, or is reset.
                abandoned = true;
                left = world.below(left + 2);
            }
            if left == 0 || !self.land(command) {
                return;
            }
            left -= 1;
        }
        world.pause(slow).await;
        let deaf = matches!(world.state().links[self.slot][self.node], Link::Silent | Link::Deaf);
        if mute || deaf {
            // The answer never comes; who waits for it gives up in time.
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        let _ = reply.send(());
    }

    /// Runs one command on the node; `false` if there is no connection to it any more.
    fn land(&self, command: Command) -> bool {
        let world = &self.world;
        let (now, latest) = (world.elapsed(), world.latest_shown());
        let mut state = world.state();
        let traced = state.is_traced();
        let node = &mut state.nodes[self.node];
        if !node.up || (self.bound && node.incarnation != self.incarnation) {
            return false;
        }
        let told = if traced { format_command(&command) } else { String::new() };
        let answer = node.run(command, now);
        let before = node.evictions;
        node.evict(latest, world.knobs.skew(), world.profile.evicts_holds);
        let evicted = node.evictions - before;
        if evicted > 0 {
            *state.faults.entry("eviction").or_default() += evicted;
        }
        drop(state);
        world.trace(|| format!("node {} <- p{}: {told} -> {}", self.node, self.life, format_answer(&answer)));
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        true
    }
}

fn short(bytes: &[u8]) -> String {
    match VersionLog::parse(bytes) {
        Ok(log) => {
            let events = log.events().iter().map(|event| match event {
                cachesweeper_core::version::Event::Mark { uid, deadline } => {
                    format!(" +{:04x}..{}", uid.to_bytes()[15], deadline.0 / 1000 % 1_000_000)
                }
                cachesweeper_core::version::Event::Release { uid, birth } => {
                    format!(" -{:04x}@{}", uid.to_bytes()[15], birth.0 / 1000 % 1_000_000)
                }
                cachesweeper_core::version::Event::Quarantine { head, deadline } => {
                    format!(" ?{:04x}..{}", head.to_bytes()[15], deadline.0 / 1000 % 1_000_000)
                }
            });
            format!("log {:02x}{}", log.head().to_bytes()[15], events.collect::<String>())
        }
        Err(_) => {
            // A fragment's body is at its end.
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
            let from = text.find("/f/").unwrap_or(0);
            text[from..].to_owned()
        }
    }
}

fn format_command(command: &Command) -> String {
    match command {
        Command::Get(key) => format!("get {key}"),
        Command::Gets(key) => format!("gets {key}"),
        Command::Touch(key, _) => format!("touch {key}"),
        Command::Delete(key) => format!("delete {key}"),
        Command::Add(key, value, _) => format!("add {key} {}", short(value)),
        Command::Append(key, value) => {
            let tag = value.first().map_or('?', |tag| char::from(*tag));
            format!("append {key} {tag}{:04x}", value.get(16).copied().unwrap_or(0))
        }
        Command::Set(key, value, _) => format!("set {key} {}", short(value)),
        Command::Swap(key, _, value, _) => format!("swap {key} {}", short(value)),
    }
}

fn format_answer(answer: &Answer) -> String {
    match answer {
        Answer::Value(value, _) => short(value),
        Answer::Done => "done".into(),
        Answer::No => "no".into(),
    }
}
