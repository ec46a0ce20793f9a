//! The model: which actions there are in a state, and what each does.

use std::sync::Arc;

use cachesweeper_core::store::{Op, Reply};
use cachesweeper_core::version::VersionLog;
use stateright::{Model, Property};

use crate::db::Db;
use crate::hashed::Hashed;
use crate::seen::{Seen, Sightings};
use crate::setup::{Evicted, Setup, Style};
use crate::state::{Action, Reader, Stage, State, Wait, Who, Writer};
use crate::store::{self, Batch, Late, Message};
use crate::world::World;

/// A scenario's model.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its names.
    pub world: Arc<World>,
    /// What was seen.
    pub seen: Arc<Sightings>,
    /// A reader that reads nothing.
    pub(crate) idle: Hashed<Reader>,
    /// For each reader, the first that it can be exchanged with.
    alike: Vec<usize>,
}

impl Checked {
    /// The model of a setup.
    pub fn new(setup: Setup) -> Self {
        let apart = |process: usize| if setup.flights || setup.health || setup.near { process } else { 0 };
        let kind = |reader: usize| {
            let spec = setup.readers[reader];
            (spec.fragment, spec.reads, apart(spec.process), setup.ahead[spec.process])
        };
        let alike = (0..setup.readers.len()).map(|reader| (0..=reader).find(|&other| kind(other) == kind(reader)).unwrap_or(reader));
        Self { alike: alike.collect(), idle: Hashed::new(Reader::Idle), world: Arc::new(World::new(setup)), seen: Arc::default() }
    }

    /// Sends a batch.
    pub(crate) fn send(&self, state: &mut State, process: usize, mut ops: Vec<Op>) -> Batch {
        let now = self.world.clock(process, state.now);
        self.world.rewrite(&mut ops, &state.items, now);
        let replies =
            if state.health.is_empty() { vec![None; ops.len()] } else { state.health.edit(|health| health[process].admit(&ops, now)) };
        Batch { order: self.world.order(&ops), replies, ops, sent: state.now }
    }

    /// The replies of a complete batch, as its sender takes them.
    pub(crate) fn hear(&self, state: &mut State, process: usize, batch: &Batch) -> Vec<Reply> {
        let mut replies = batch.replies();
        if !state.health.is_empty() {
            let now = self.world.clock(process, state.now);
            state.health.edit(|health| health[process].observe(&batch.ops, &mut replies, now));
        }
        replies
    }

    fn batch(state: &State, who: Who) -> Option<Batch> {
        match who {
            Who::Writer(index) => state.writers[index].batch().cloned(),
            Who::Reader(index) => state.readers[index].batch().cloned(),
            Who::Courier(process) => state.couriers[process].as_ref().map(|courier| courier.batch.clone()),
        }
    }

    /// Runs an operation at the store.
    fn run(&self, state: &mut State, op: &Op) -> Reply {
        if store::is_write(op) {
            let mut op = op.clone();
            self.world.name_head(&mut op, state.uids);
            let reply = state.items.edit(|items| {
                let reply = store::run(items, &op);
                self.world.tidy_marker(items, &op);
                reply
            });
            if reply == Reply::Done && self.sends_uid(std::slice::from_ref(&op)) {
                state.uids += 1;
            }
            self.note_reply(&op, &reply);
            return reply;
        }
        state.items.get(&(op.node, op.key.clone())).map_or(Reply::No, |value| Reply::Value(value.clone()))
    }

    /// Whether nothing can change this node's marker any more: then it does not matter when it is read.
    fn marker_is_settled(&self, state: &State, node: usize) -> bool {
        let budget = state.budget;
        if budget.restart + budget.evict + budget.restore > 0 {
            return false;
        }
        let touches = |op: &Op| op.node == node && op.key == self.world.marker && store::is_write(op);
        !state.busy().any(|(_, batch)| batch.ops.iter().any(touches))
            && !state.late.iter().any(|late| late.ops.iter().any(|message| touches(&message.0)))
            && !state.readers.iter().any(|reader| matches!(reader.wait(), Some(Wait::Paused(..))))
    }

    /// Messages reach a node, and their replies the sender.
    fn deliver(&self, state: &mut State, who: Who, node: usize, pause: bool) -> Option<Batch> {
        let mut batch = Self::batch(state, who)?;
        let index = batch.next(node)?;
        let op = batch.ops[index].clone();
        let reply = self.run(state, &op);
        batch.reply(index, reply);
        while let Some(next) = batch.next(node) {
            let op = batch.ops[next].clone();
            if op.key != self.world.marker || store::is_write(&op) || !self.marker_is_settled(state, node) {
                break;
            }
            let reply = self.run(state, &op);
            batch.reply(next, reply);
        }
        if pause && !batch.is_complete() {
            return None;
        }
        self.replied(state, who, batch.clone(), pause);
        Some(batch)
    }

    /// Puts a batch back; if it is complete, its sender goes on.
    fn replied(&self, state: &mut State, who: Who, batch: Batch, pause: bool) {
        let complete = batch.is_complete();
        match who {
            Who::Writer(index) => {
                state.writers[index].edit(|writer| {
                    if let Stage::Marking(_, known)
                    | Stage::Renewing(_, known, _)
                    | Stage::Holding(_, known, ..)
                    | Stage::Ending(_, known) = &mut writer.stage
                    {
                        *known = batch;
                    }
                });
                if complete {
                    self.writer_heard(state, index);
                }
            }
            Who::Reader(index) if complete && pause => self.reader_pauses(state, index, batch),
            Who::Reader(index) if complete => self.reader_heard(state, index, &batch),
            Who::Reader(index) => state.readers[index].edit(|reader| {
                if let Reader::Busy(run) = reader {
                    run.wait = Wait::Replies(batch);
                }
            }),
            Who::Courier(process) => {
                if let Some(courier) = &mut state.couriers[process] {
                    courier.edit(|courier| courier.batch = batch);
                }
                if complete {
                    self.courier_heard(state, process);
                }
            }
        }
    }

    fn may_tick(&self, state: &State) -> bool {
        // A message lands in time, or its connection has failed.
        let landing = self.world.setup.rules.landing.0;
        state.now < self.world.setup.ticks && state.busy().all(|(_, batch)| u64::from(state.now) < u64::from(batch.sent) + landing)
    }

    /// Whether a log may have a hold that somebody counts on.
    fn is_held(&self, state: &State, bytes: &[u8]) -> bool {
        let now = self.world.clock(0, state.now).minus(cachesweeper_core::Micros(self.world.setup.ahead[0]));
        VersionLog::parse(bytes).is_ok_and(|log| log.is_held(now, self.world.setup.rules.skew))
    }

    /// The items' positions that may be evicted.
    fn evictable<'a>(&'a self, state: &'a State) -> impl Iterator<Item = (usize, bool)> + 'a {
        let items = state.items.iter().enumerate();
        let chosen = items.filter(|(_, ((_, key), _))| self.may_evict(key));
        let held = chosen.map(|(index, ((_, key), bytes))| (index, self.world.is_log(key) && self.is_held(state, bytes)));
        held.filter(|(_, held)| !held || self.world.setup.evict_held)
    }

    fn may_evict(&self, key: &str) -> bool {
        let (log, marker) = (self.world.is_log(key), *key == *self.world.marker);
        match self.world.setup.evicted {
            Evicted::Any => true,
            Evicted::Logs => log,
            Evicted::Markers => marker,
            Evicted::Fragments => !log && !marker,
        }
    }

    fn evict(&self, state: &mut State, index: usize) {
        let found = self.evictable(state).find(|(other, _)| *other == index);
        if let Some((_, held)) = found {
            self.seen.note(if held { Seen::EvictHeld } else { Seen::Evict });
            state.items.edit(|items| {
                let key = items.keys().nth(index).cloned();
                key.and_then(|key| items.remove(&key))
            });
            state.budget.evict -= 1;
        }
    }

    fn land(&self, state: &mut State, index: usize) {
        let op = state.late.edit(|late| {
            let Message(op) = late[index].ops.remove(0);
            if late[index].ops.is_empty() {
                late.remove(index);
            }
            late.sort();
            op
        });
        self.seen.note(Seen::Late);
        self.run(state, &op);
    }

    /// Readers that are alike are kept in one order, so that it does not matter which of them is where.
    fn arrange(&self, state: &mut State) {
        for first in 0..self.alike.len() {
            let group: Vec<usize> = (first..self.alike.len()).filter(|&reader| self.alike[reader] == first).collect();
            if group.len() < 2 {
                continue;
            }
            let mut readers: Vec<Hashed<Reader>> = group.iter().map(|&reader| state.readers[reader].clone()).collect();
            readers.sort_by_key(Hashed::fingerprint);
            for (place, reader) in group.into_iter().zip(readers) {
                state.readers[place] = reader;
            }
        }
    }

    fn writer_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let budget = state.budget;
        for (index, writer) in state.writers.iter().enumerate() {
            let spec = self.world.setup.writers[index];
            let committed = writer.made.is_some();
            match &writer.stage {
                Stage::Idle if spec.style == Style::Autocommit || state.db.locked[spec.row].is_none() => actions.push(Action::Begin(index)),
                Stage::Open => {
                    if committed || writer.unknown {
                        actions.push(Action::Return(index));
                    }
                    if !committed && !writer.unknown && (budget.abort > 0 || !self.may_commit(state, index)) {
                        // A COMMIT that would be too late is given up.
                        let late = self.writer_clock(index, state.now) > writer.mark.deadline();
                        if budget.abort > 0 || late {
                            actions.push(Action::Abort(index));
                        }
                    }
                    if budget.renew > 0 && spec.style == Style::Transaction {
                        actions.push(Action::Renew(index));
                    }
                    if budget.unknown > 0 && !writer.unknown && spec.style == Style::Transaction {
                        actions.push(Action::Unknown(index));
                    }
                }
                _ => {}
            }
            if self.may_commit(state, index) {
                actions.push(Action::Commit(index));
            }
            if budget.crash > 0 && !matches!(writer.stage, Stage::Idle | Stage::Over | Stage::Owing) {
                actions.push(Action::Crash(index));
            }
        }
    }

    fn reader_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let budget = state.budget;
        let more_time = state.now < self.world.setup.ticks;
        for (index, reader) in state.readers.iter().enumerate() {
            // Of readers that are alike and at the same point one is enough.
            let twin = index > 0 && self.alike[index] == self.alike[index - 1] && state.readers[index - 1] == *reader;
            if twin && reader.batch().is_none() {
                continue;
            }
            match reader.wait() {
                None => {
                    let nodes =
                        if self.world.setup.readers[index].reads == crate::setup::Reads::Page { 1 } else { self.world.setup.nodes() };
                    actions.extend((0..nodes).map(|node| Action::Read(index, node)));
                }
                Some(Wait::Lookup) => actions.push(Action::LookUp(index)),
                Some(Wait::Load) => {
                    actions.push(Action::Load(index, false));
                    if budget.pause > 0 && more_time {
                        actions.push(Action::Load(index, true));
                    }
                }
                Some(Wait::Paused(_, since) | Wait::Loaded(since)) if *since < state.now => actions.push(Action::Resume(index)),
                Some(Wait::Sleep) => actions.push(Action::Resume(index)),
                _ => {}
            }
            if budget.leave > 0 && reader.wait().is_some() {
                actions.push(Action::Leave(index));
            }
        }
    }

    fn message_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let budget = state.budget;
        let more_time = state.now < self.world.setup.ticks;
        for (who, batch) in state.busy() {
            for node in 0..self.world.setup.nodes() {
                let Some(next) = batch.next(node) else { continue };
                actions.push(Action::Deliver(who, node, false));
                if budget.pause > 0 && more_time && matches!(who, Who::Reader(_)) {
                    actions.push(Action::Deliver(who, node, true));
                }
                if budget.duplicate > 0 && store::is_write(&batch.ops[next]) {
                    actions.push(Action::Duplicate(who, node));
                }
                if budget.cut > 0 {
                    actions.push(Action::Cut(who, node));
                }
            }
        }
    }

    fn fault_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let nodes = 0..self.world.setup.nodes();
        if state.budget.evict > 0 {
            actions.extend(self.evictable(state).map(|(index, _)| Action::Evict(index)));
        }
        if state.budget.restart > 0 {
            actions.extend(nodes.clone().map(Action::Restart));
        }
        if state.budget.restore > 0 {
            actions.extend(nodes.map(Action::Restore));
        }
        actions.extend((0..state.late.len()).map(Action::Land));
        for (process, health) in state.health.iter().enumerate() {
            if state.couriers[process].is_none() && !health.owed().is_empty() {
                actions.push(Action::Owed(process));
            }
        }
        if self.may_tick(state) {
            actions.push(Action::Tick);
        }
    }

    fn apply(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Tick => {
                state.now += 1;
                let now = state.now;
                if state.late.iter().any(|late| late.by < now) {
                    state.late.edit(|late| late.retain(|late| late.by >= now));
                }
            }
            Action::Begin(writer) => self.begin(state, writer),
            Action::Commit(writer) => self.commit(state, writer),
            Action::Return(writer) => self.returns(state, writer),
            Action::Abort(writer) => {
                state.budget.abort = state.budget.abort.saturating_sub(1);
                self.abort(state, writer);
            }
            Action::Renew(writer) => {
                state.budget.renew -= 1;
                self.renew(state, writer);
            }
            Action::Unknown(writer) => {
                state.budget.unknown -= 1;
                state.writers[writer].edit(|writer| writer.unknown = true);
            }
            Action::Crash(writer) => {
                state.budget.crash -= 1;
                self.crash(state, writer);
            }
            Action::Read(reader, node) => {
                self.read(state, reader);
                if self.world.setup.readers[reader].reads == crate::setup::Reads::Closure && state.readers[reader].batch().is_some() {
                    self.deliver(state, Who::Reader(reader), node, false)?;
                }
            }
            Action::LookUp(reader) => self.reader_resumes(state, reader),
            Action::Load(reader, pause) => {
                if pause {
                    state.budget.pause -= 1;
                    self.seen.note(Seen::Pause);
                }
                self.reader_loads(state, reader, pause);
            }
            Action::Resume(reader) => self.reader_resumes(state, reader),
            Action::Leave(reader) => {
                state.budget.leave -= 1;
                self.seen.note(Seen::Leave);
                self.reader_leaves(state, reader);
            }
            Action::Owed(process) => {
                self.deliver_owed(state, process);
                if state.couriers[process].is_none() && !state.health[process].owed().is_empty() {
                    // The node is left alone for now: nothing was sent.
                    return None;
                }
            }
            Action::Deliver(who, node, pause) => {
                self.deliver(state, who, node, pause)?;
                if pause {
                    state.budget.pause -= 1;
                    self.seen.note(Seen::Pause);
                }
            }
            Action::Duplicate(who, node) => {
                let batch = Self::batch(state, who)?;
                let mut op = batch.ops[batch.next(node)?].clone();
                // Both are the same message: a head in it has one name.
                self.world.name_head(&mut op, state.uids);
                state.budget.duplicate -= 1;
                self.seen.note(Seen::Duplicate);
                self.send_late(state, vec![op], batch.sent);
                self.deliver(state, who, node, false)?;
            }
            Action::Cut(who, node) => {
                let mut batch = Self::batch(state, who)?;
                state.budget.cut -= 1;
                self.seen.note(Seen::Cut);
                let rest = batch.cut(node);
                self.send_late(state, rest, batch.sent);
                self.replied(state, who, batch, false);
            }
            Action::Land(index) => self.land(state, index),
            Action::Evict(index) => self.evict(state, index),
            Action::Restart(node) => {
                state.budget.restart -= 1;
                self.seen.note(Seen::Restart);
                state.items.edit(|items| items.retain(|(other, _), _| *other != node));
            }
            Action::Restore(node) => {
                state.budget.restore -= 1;
                self.seen.note(Seen::Restore);
                let first = self.world.items();
                state.items.edit(|items| {
                    items.retain(|(other, _), _| *other != node);
                    items.extend(first.into_iter().filter(|((other, _), _)| *other == node));
                });
            }
        }
        Some(())
    }
}

impl Model for Checked {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let setup = &self.world.setup;
        let processes = setup.ahead.len();
        let new = || cachesweeper_core::health::Health::new(setup.nodes(), cachesweeper_core::Micros(1), setup.rules.skew);
        let health = if setup.health { (0..processes).map(|_| new()).collect() } else { Vec::new() };
        vec![State {
            now: 0,
            items: Hashed::new(self.world.items()),
            db: Hashed::new(Db::new(setup.rows.iter().map(|row| row.parent).collect())),
            writers: vec![Hashed::new(Writer::idle()); setup.writers.len()],
            readers: vec![Hashed::new(Reader::Idle); setup.readers.len()],
            late: Hashed::new(Vec::<Late>::new()),
            health: Hashed::new(health),
            couriers: if setup.health { vec![None; processes] } else { Vec::new() },
            budget: setup.budget,
            near: Hashed::new(std::collections::BTreeMap::new()),
            uids: 0,
            violation: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_none() {
            self.writer_actions(state, actions);
            self.reader_actions(state, actions);
            self.message_actions(state, actions);
            self.fault_actions(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.apply(&mut state, action)?;
        self.arrange(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("never stale", |_, state: &State| state.violation.is_none())]
    }
}
