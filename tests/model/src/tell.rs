//! Steps in words, for the trace of a stale read.

use bytes::Bytes;
use cachesweeper_core::protocol::Envelope;
use cachesweeper_core::store::{Action as StoreAction, Op, Reply};
use cachesweeper_core::version::{Event, Marker, VersionLog};

use crate::model::Checked;
use crate::state::{Action, State, Who};
use crate::world::BEGINNING;

fn time(micros: cachesweeper_core::Micros) -> String {
    match micros.0.checked_sub(BEGINNING) {
        Some(time) => format!("{time}"),
        None => "long ago".into(),
    }
}

fn uid(uid: cachesweeper_core::version::Uid) -> String {
    let bytes = uid.to_bytes();
    match u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) {
        // A head gets its name when it lands.
        u32::MAX => "new".into(),
        random => format!("u{random}"),
    }
}

fn event(event: &Event) -> String {
    match event {
        Event::Mark { uid: name, deadline } => format!("+{}≤{}", uid(*name), time(*deadline)),
        Event::Release { uid: name, birth } => format!("-{}@{}", uid(*name), time(*birth)),
        Event::Quarantine { head, deadline } => format!("?{}≤{}", uid(*head), time(*deadline)),
    }
}

impl Checked {
    fn value(&self, key: &str, bytes: &Bytes) -> String {
        if let Some(envelope) = Envelope::decode(bytes, key) {
            let stamp = u32::from_be_bytes([
                envelope.stamp.to_bytes()[0],
                envelope.stamp.to_bytes()[1],
                envelope.stamp.to_bytes()[2],
                envelope.stamp.to_bytes()[3],
            ]);
            return format!("[{} stamp {stamp:08x}]", String::from_utf8_lossy(&envelope.body));
        }
        if *key == *self.world.marker {
            return match Marker::parse(bytes).map(|marker| marker.deadline()) {
                Some(Some(deadline)) => format!("quarantine until {}", time(deadline)),
                Some(None) => "bare".into(),
                None => "quarantine".into(),
            };
        }
        if let Ok(log) = VersionLog::parse(bytes) {
            let events: Vec<String> = log.events().iter().map(event).collect();
            return format!("={} {}", uid(log.head()), events.join(" "));
        }
        let framed = [VersionLog::fresh(crate::world::ancient(0)).to_bytes(), bytes.to_vec()].concat();
        match VersionLog::parse(&framed) {
            Ok(log) => log.events().iter().map(event).collect::<Vec<_>>().join(" "),
            Err(_) => "…".into(),
        }
    }

    fn op(&self, op: &Op) -> String {
        let name = self.world.name(&op.key);
        let value = |bytes| self.value(&op.key, bytes);
        match &op.action {
            StoreAction::Get | StoreAction::GetForWrite => format!("get {name}"),
            StoreAction::Add(bytes, _) => format!("add {name}: {}", value(bytes)),
            StoreAction::Append(bytes, _) => format!("append to {name}: {}", value(bytes)),
            StoreAction::Set(bytes, _) => format!("set {name}: {}", value(bytes)),
            StoreAction::Replace(_, bytes, _) => format!("replace {name} by {}", value(bytes)),
            StoreAction::Delete => format!("delete {name}"),
        }
    }

    /// A step in words.
    pub fn tell(&self, before: &State, action: Action, after: &State) -> String {
        let who = |who: Who| match who {
            Who::Writer(index) => format!("writer {index}"),
            Who::Reader(index) => format!("reader {index}"),
            Who::Courier(process) => format!("the deliverer of process {process}"),
        };
        let next = |from: Who, node: usize| {
            let (_, batch) = before.busy().find(|(other, _)| *other == from)?;
            Some(&batch.ops[batch.next(node)?])
        };
        let message = |from: Who, node: usize| {
            let op = next(from, node)?;
            let reply = match crate::store::run(&mut (*before.items).clone(), op) {
                Reply::Value(value) => self.value(&op.key, &value),
                Reply::Done => "done".into(),
                _ => "no".into(),
            };
            Some(format!("{} -> {reply}", self.op(op)))
        };
        let step = match action {
            Action::Tick => format!("time passes: it is {}", after.now),
            Action::Begin(index) => format!("writer {index} begins, its marks are sent"),
            Action::Commit(index) => format!("writer {index}'s COMMIT takes effect: truths {:?}", after.db.truth),
            Action::Return(index) => format!("writer {index}'s COMMIT returns, its release is sent"),
            Action::Abort(index) => format!("writer {index} rolls back, its release is sent"),
            Action::Renew(index) => format!("writer {index} renews its hold"),
            Action::Unknown(index) => format!("writer {index} loses its database connection during COMMIT"),
            Action::Crash(index) => format!("writer {index} is killed"),
            Action::Read(index, _) => {
                format!(
                    "reader {index} begins, and its first message arrives (committed {:?}, acknowledged {:?})",
                    before.db.truth, before.db.acked
                )
            }
            Action::LookUp(index) => format!("reader {index} looks up what its page shows"),
            Action::Load(index, pause) => {
                format!("reader {index} loads its data: {:?}{}", before.db.truth, if pause { ", and stands still" } else { "" })
            }
            Action::Resume(index) => format!("reader {index} goes on"),
            Action::Leave(index) => format!("reader {index}'s caller goes away"),
            Action::Owed(process) => format!("process {process} sends what it owes"),
            Action::Deliver(from, node, pause) => {
                format!("{}: {}{}", who(from), message(from, node).unwrap_or_default(), if pause { ", and stands still" } else { "" })
            }
            Action::Duplicate(from, node) => format!("{}: {}, which will arrive twice", who(from), message(from, node).unwrap_or_default()),
            Action::Cut(from, node) => {
                let op = next(from, node).map_or_else(String::new, |op| self.op(op));
                format!("{}'s connection to node {node} breaks before: {op}", who(from))
            }
            Action::Land(index) => {
                let op = &before.late[index].ops[0].0;
                format!("late: {}", self.op(op))
            }
            Action::Evict(index) => {
                format!("evicted: {}", before.items.keys().nth(index).map_or_else(String::new, |(_, key)| self.world.name(key)))
            }
            Action::Restart(node) => format!("node {node} restarts, empty"),
            Action::Restore(node) => format!("node {node} restarts with old content"),
        };
        let acked = if after.db.acked == before.db.acked { String::new() } else { format!("; acknowledged {:?}", after.db.acked) };
        format!("{step}{acked}")
    }
}
