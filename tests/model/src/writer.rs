//! Writers: what the adapters do around a write, step by step; and the deliveries of what is owed.

use std::collections::BTreeSet;

use cachesweeper_core::health::Pending;
use cachesweeper_core::protocol::{Append, Appended, Input, LogAddress, Machine, Step};
use cachesweeper_core::version::Uid;
use cachesweeper_core::{Mark, Micros, Policy, Tick};

use crate::model::Checked;
use crate::scheme::UNNAMED;
use crate::seen::Seen;
use crate::setup::{Change, Scheme, Style};
use crate::state::{Courier, Leg, NONE, Stage, State, Writer};
use crate::store::Batch;

/// The random part of the first uid of what is owed.
const OWED: u64 = 1 << 21;

impl Checked {
    pub(crate) fn writer_clock(&self, writer: usize, now: u8) -> Micros {
        self.world.clock(self.world.setup.writers[writer].process, now)
    }

    /// A writer's tick; its uids are counted for it alone, so that they do not depend on the others' steps.
    fn writer_tick(&self, writer: &mut Writer, index: usize, now: u8) -> Tick {
        writer.uids += 1;
        let number = 1024 * (index as u64 + 1) + 8 * u64::from(writer.uids);
        // A multiple of eight makes a mark look at its logs.
        let random = if self.world.setup.checking_marks { number } else { number + 1 };
        Tick { now: self.writer_clock(index, now), random }
    }

    fn addresses(&self, records: &BTreeSet<usize>) -> Vec<LogAddress> {
        records.iter().map(|&row| self.world.logs[row].clone()).collect()
    }

    /// Whether a foreign key tells only part of the way up, so that a query tells the rest.
    fn queried(&self, keys: &BTreeSet<usize>) -> bool {
        keys.iter().any(|&key| self.world.setup.rows[key].parent.is_some())
    }

    /// It finds its records and sends its marks. In a transaction its row is locked from here on.
    pub(crate) fn begin(&self, state: &mut State, index: usize) {
        let spec = self.world.setup.writers[index];
        let mut writer = Writer::idle();
        writer.keys.extend(state.db.parent[spec.row]);
        if let Change::Move(parent) = spec.change {
            writer.keys.insert(parent);
        }
        writer.known = state.db.climb(spec.row, &writer.keys);
        if spec.style != Style::Autocommit {
            state.db.edit(|db| db.locked[spec.row] = Some(index));
        }
        let logs = self.addresses(&writer.known);
        let rules = self.world.setup.rules;
        let tick = self.writer_tick(&mut writer, index, state.now);
        let append = match spec.style {
            Style::Transaction | Style::Autocommit => {
                let (mark, append) = Mark::begin(rules, logs, rules.hold, tick);
                writer.mark = mark;
                append
            }
            Style::Plain => {
                let (mark, append) = Mark::begin(rules, logs, rules.longest_hold, tick);
                writer.mark = mark;
                append
            }
            Style::BumpInHook => Append::invalidate(rules, logs, &[Uid::new(tick)], tick.now),
            Style::Unseen | Style::BumpAfterCommit => {
                writer.stage = Stage::Open;
                return state.writers[index].edit(|known| *known = writer);
            }
        };
        self.mark(state, index, writer, append, Input::Start);
    }

    fn put_writer(state: &mut State, index: usize, writer: Writer, stage: Stage) {
        state.writers[index].edit(|known| *known = Writer { stage, ..writer });
    }

    fn over(state: &mut State, index: usize) {
        state.writers[index].edit(|known| *known = Writer::over());
    }

    fn unlock(&self, state: &mut State, index: usize) {
        let row = self.world.setup.writers[index].row;
        if state.db.locked[row] == Some(index) {
            state.db.edit(|db| db.locked[row] = None);
        }
    }

    fn mark(&self, state: &mut State, index: usize, mut writer: Writer, mut append: Append, input: Input) {
        let spec = self.world.setup.writers[index];
        let tick = self.writer_tick(&mut writer, index, state.now);
        match append.advance(input, tick) {
            Step::Run(ops) => {
                let batch = self.send(state, spec.process, ops);
                self.marking(state, index, writer, append, batch);
            }
            Step::Sleep(_) => {}
            Step::Done(appended) => {
                let refused = !appended.failed.is_empty();
                if refused && self.world.setup.policy == Policy::Abort {
                    self.seen.note(Seen::Refused);
                    self.unlock(state, index);
                    writer.mark = writer.mark.given_back(&appended);
                    return self.release(state, index, writer);
                }
                if refused {
                    self.seen.note(Seen::Proceeded);
                }
                if spec.style != Style::BumpInHook {
                    writer.mark.sort_out(&appended);
                }
                if matches!(spec.style, Style::Plain | Style::Autocommit) {
                    // Nobody may be left to release it.
                    let (_, failed) = writer.mark.logs();
                    self.owe(state, spec.process, &writer.mark, failed.to_vec(), writer.mark.deadline());
                }
                Self::put_writer(state, index, writer, Stage::Open);
            }
        }
    }

    fn marking(&self, state: &mut State, index: usize, writer: Writer, append: Append, batch: Batch) {
        if !batch.is_complete() {
            return Self::put_writer(state, index, writer, Stage::Marking(append, batch));
        }
        let replies = self.hear(state, self.world.setup.writers[index].process, &batch);
        self.mark(state, index, writer, append, Input::Replies(replies));
    }

    /// All replies are there.
    pub(crate) fn writer_heard(&self, state: &mut State, index: usize) {
        let mut writer = (*state.writers[index]).clone();
        let process = self.world.setup.writers[index].process;
        match std::mem::replace(&mut writer.stage, Stage::Idle) {
            Stage::Marking(append, batch) => self.marking(state, index, writer, append, batch),
            Stage::Renewing(mut append, batch, fresh) => {
                let replies = self.hear(state, process, &batch);
                let tick = self.writer_tick(&mut writer, index, state.now);
                match append.advance(Input::Replies(replies), tick) {
                    Step::Run(ops) => {
                        let batch = self.send(state, process, ops);
                        Self::put_writer(state, index, writer, Stage::Renewing(append, batch, fresh));
                    }
                    Step::Sleep(_) => {}
                    Step::Done(appended) => {
                        if appended.failed.is_empty() {
                            self.seen.note(Seen::Renew);
                        }
                        writer.mark.renewed(fresh, &appended);
                        Self::put_writer(state, index, writer, Stage::Open);
                    }
                }
            }
            Stage::Holding(append, batch, first, fresh) => {
                let replies = self.hear(state, process, &batch);
                self.hold(state, index, writer, append, Input::Replies(replies), first, fresh);
            }
            Stage::Ending(append, batch) => {
                let replies = self.hear(state, process, &batch);
                self.end(state, index, writer, append, Input::Replies(replies));
            }
            stage => Self::put_writer(state, index, writer, stage),
        }
    }

    /// Whether COMMIT may take effect: within the hold, unless the setup says otherwise.
    pub(crate) fn may_commit(&self, state: &State, index: usize) -> bool {
        let (writer, spec) = (&state.writers[index], self.world.setup.writers[index]);
        let going = matches!(writer.stage, Stage::Open | Stage::Renewing(..)) && writer.made.is_none();
        let held = matches!(spec.style, Style::Transaction | Style::Autocommit | Style::Plain);
        let in_time = !held || self.world.setup.late_commit || self.writer_clock(index, state.now) <= writer.mark.deadline();
        let free = state.db.locked[spec.row].is_none_or(|holder| holder == index);
        going && in_time && free
    }

    /// COMMIT takes effect.
    pub(crate) fn commit(&self, state: &mut State, index: usize) {
        let spec = self.world.setup.writers[index];
        let made = state.db.edit(|db| db.commit(spec.row, spec.change));
        if matches!(spec.change, Change::Move(_)) {
            self.seen.note(Seen::Moved);
        }
        self.unlock(state, index);
        let mut writer = (*state.writers[index]).clone();
        if writer.unknown {
            self.seen.note(Seen::Unknown);
        }
        if matches!(spec.style, Style::Plain | Style::Unseen) {
            // Its end is not seen: its caller has its answer when COMMIT returns.
            self.acknowledge(state, &made);
            return Self::over(state, index);
        }
        writer.made = Some(made);
        state.writers[index].edit(|known| *known = writer);
    }

    fn acknowledge(&self, state: &mut State, made: &[(usize, u8)]) {
        if self.world.setup.counts_acks() && !made.is_empty() {
            let at = self.world.setup.has_ages().then_some(state.now);
            state.db.edit(|db| db.acknowledge(made, at));
        }
    }

    /// COMMIT returns, or the time for one of unknown outcome is up: it looks for its records again, and releases.
    pub(crate) fn returns(&self, state: &mut State, index: usize) {
        let spec = self.world.setup.writers[index];
        let mut writer = (*state.writers[index]).clone();
        match spec.style {
            Style::BumpInHook => {
                self.acknowledge(state, &writer.made.clone().unwrap_or_default());
                return Self::over(state, index);
            }
            Style::BumpAfterCommit => {
                let tick = self.writer_tick(&mut writer, index, state.now);
                let append = Append::invalidate(self.world.setup.rules, self.addresses(&writer.known), &[Uid::new(tick)], tick.now);
                return self.end(state, index, writer, append, Input::Start);
            }
            _ => {}
        }
        let mut again = BTreeSet::new();
        if spec.style == Style::Autocommit {
            // The saved row tells its parents as they are now.
            let keys = state.db.parent[spec.row].into_iter().collect();
            again = state.db.climb(spec.row, &keys);
        } else if self.queried(&writer.keys) && !writer.unknown {
            again = state.db.climb(spec.row, &writer.keys);
        }
        let more: BTreeSet<usize> = again.difference(&writer.known).copied().collect();
        let mut more = self.addresses(&more);
        more.retain(|log| !writer.mark.logs().0.contains(log));
        if !more.is_empty() {
            self.seen.note(Seen::FoundLater);
            let tick = self.writer_tick(&mut writer, index, state.now);
            writer.mark.invalidate_also(more, tick);
        }
        self.release(state, index, writer);
    }

    /// It rolls back, and releases.
    pub(crate) fn abort(&self, state: &mut State, index: usize) {
        self.seen.note(Seen::Abort);
        self.unlock(state, index);
        let writer = (*state.writers[index]).clone();
        if !matches!(self.world.setup.writers[index].style, Style::Transaction | Style::Autocommit) {
            return Self::over(state, index);
        }
        self.release(state, index, writer);
    }

    /// What `Face::release` does: several logs without a hold are held first, if only for a moment.
    fn release(&self, state: &mut State, index: usize, mut writer: Writer) {
        let rules = self.world.setup.rules;
        let tick = self.writer_tick(&mut writer, index, state.now);
        let unheld = writer.mark.unheld_from(rules, tick.now).filter(|_| self.world.setup.scheme != Scheme::ReleaseOneByOne);
        match unheld {
            Some(first) => {
                let (fresh, append) = Mark::begin(rules, writer.mark.logs().0[first..].to_vec(), rules.hold, tick);
                self.hold(state, index, writer, append, Input::Start, first, fresh);
            }
            None => self.release_held(state, index, writer),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a stage")]
    fn hold(&self, state: &mut State, index: usize, mut writer: Writer, mut append: Append, input: Input, first: usize, fresh: Mark) {
        let process = self.world.setup.writers[index].process;
        let mut input = input;
        loop {
            let tick = self.writer_tick(&mut writer, index, state.now);
            match append.advance(input, tick) {
                Step::Run(ops) => {
                    let batch = self.send(state, process, ops);
                    if !batch.is_complete() {
                        return Self::put_writer(state, index, writer, Stage::Holding(append, batch, first, fresh));
                    }
                    input = Input::Replies(self.hear(state, process, &batch));
                }
                Step::Sleep(_) => return,
                Step::Done(appended) => {
                    self.seen.note(Seen::HeldToRelease);
                    writer.mark.held_from(first, fresh, &appended);
                    return self.release_held(state, index, writer);
                }
            }
        }
    }

    fn release_held(&self, state: &mut State, index: usize, writer: Writer) {
        let (rules, now) = (self.world.setup.rules, self.writer_clock(index, state.now));
        let append = writer.mark.begin_release(rules, now);
        if now.plus(rules.skew) >= writer.mark.deadline() && writer.made.is_some() {
            self.seen.note(Seen::MustArrive);
        }
        self.end(state, index, writer, append, Input::Start);
    }

    fn end(&self, state: &mut State, index: usize, mut writer: Writer, mut append: Append, input: Input) {
        let spec = self.world.setup.writers[index];
        let mut input = input;
        loop {
            let tick = self.writer_tick(&mut writer, index, state.now);
            match append.advance(input, tick) {
                Step::Run(ops) => {
                    let batch = self.send(state, spec.process, ops);
                    if !batch.is_complete() {
                        return Self::put_writer(state, index, writer, Stage::Ending(append, batch));
                    }
                    input = Input::Replies(self.hear(state, spec.process, &batch));
                }
                Step::Sleep(_) => return,
                Step::Done(appended) => {
                    if spec.style != Style::BumpAfterCommit {
                        let owed = writer.mark.still_owed(&appended);
                        self.owe(state, spec.process, &writer.mark, owed, NONE);
                    }
                    let made = writer.made.clone().filter(|_| !writer.unknown).unwrap_or_default();
                    if self.world.setup.ack_at_delivery && !made.is_empty() && !state.health[spec.process].owed().is_empty() {
                        return Self::put_writer(state, index, writer, Stage::Owing);
                    }
                    self.acknowledge(state, &made);
                    return Self::over(state, index);
                }
            }
        }
    }

    /// Its hold is opened anew, because COMMIT takes long.
    pub(crate) fn renew(&self, state: &mut State, index: usize) {
        let process = self.world.setup.writers[index].process;
        let mut writer = (*state.writers[index]).clone();
        let rules = self.world.setup.rules;
        let tick = self.writer_tick(&mut writer, index, state.now);
        let (fresh, mut append) = Mark::begin(rules, writer.mark.logs().0.to_vec(), rules.hold, tick);
        let tick = self.writer_tick(&mut writer, index, state.now);
        if let Step::Run(ops) = append.advance(Input::Start, tick) {
            let batch = self.send(state, process, ops);
            let complete = batch.is_complete();
            Self::put_writer(state, index, writer, Stage::Renewing(append, batch, fresh));
            if complete {
                self.writer_heard(state, index);
            }
        }
    }

    /// It is killed: an open transaction is rolled back; what it has sent may still land.
    pub(crate) fn crash(&self, state: &mut State, index: usize) {
        let mut writer = (*state.writers[index]).clone();
        self.seen.note(if writer.made.is_some() { Seen::Crash } else { Seen::CrashEarly });
        self.unlock(state, index);
        if let Stage::Marking(_, batch) | Stage::Renewing(_, batch, _) | Stage::Holding(_, batch, ..) | Stage::Ending(_, batch) =
            &mut writer.stage
        {
            self.lose(state, batch);
        }
        Self::over(state, index);
    }

    /// Remembers what a process owes to nodes, and the whole sweep with it.
    fn owe(&self, state: &mut State, process: usize, sweep: &Mark, logs: Vec<LogAddress>, until: Micros) {
        if state.health.is_empty() || logs.is_empty() {
            return;
        }
        let pending = |LogAddress { node, key }: &LogAddress| Pending { node: *node, key: key.clone() };
        let (held, failed) = sweep.logs();
        state.health.edit(|health| {
            logs.iter().for_each(|log| health[process].owe(pending(log), until));
            health[process].owe_sweep(held.iter().chain(failed).map(pending));
        });
    }

    /// A process sends what it owes.
    pub(crate) fn deliver_owed(&self, state: &mut State, process: usize) {
        let owed = state.health[process].owed();
        let logs = owed.iter().map(|pending| LogAddress { node: pending.node, key: pending.key.clone() }).collect();
        let tick = self.owed_tick(state, process);
        let append = Append::invalidate(self.world.setup.rules, logs, &[Uid::new(tick)], tick.now);
        self.courier(state, process, Leg::Owed(owed), append, Input::Start);
    }

    fn courier_tick(&self, state: &State, process: usize) -> Tick {
        Tick { now: self.world.clock(process, state.now), random: UNNAMED }
    }

    pub(crate) fn courier_heard(&self, state: &mut State, process: usize) {
        let Some(courier) = state.couriers[process].take() else { return };
        let replies = self.hear(state, process, &courier.batch);
        self.courier(state, process, courier.leg.clone(), courier.append.clone(), Input::Replies(replies));
    }

    fn courier(&self, state: &mut State, process: usize, leg: Leg, mut append: Append, input: Input) {
        let mut input = input;
        loop {
            let tick = self.courier_tick(state, process);
            match append.advance(input, tick) {
                Step::Run(ops) => {
                    let batch = self.send(state, process, ops);
                    if !batch.is_complete() {
                        state.couriers[process] = Some(crate::hashed::Hashed::new(Courier { leg, append, batch }));
                        return;
                    }
                    input = Input::Replies(self.hear(state, process, &batch));
                }
                Step::Sleep(_) => return,
                Step::Done(appended) => return self.courier_done(state, process, leg, &appended),
            }
        }
    }

    fn courier_done(&self, state: &mut State, process: usize, leg: Leg, appended: &Appended) {
        match leg {
            Leg::Owed(owed) => self.delivered(state, process, &owed, appended),
            Leg::Hold(mut mark, first, fresh) => {
                mark.held_from(first, fresh, appended);
                self.courier_releases(state, process, mark);
            }
            Leg::Invalidate(mark) => {
                self.owe(state, process, &mark, mark.still_owed(appended), NONE);
                self.settle_owing(state, process);
            }
        }
    }

    /// What is owed was delivered; the whole sweeps that it belongs to are invalidated once more.
    fn delivered(&self, state: &mut State, process: usize, owed: &[Pending], appended: &Appended) {
        let now = self.world.clock(process, state.now);
        let failed: BTreeSet<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
        let delivered = owed.iter().enumerate().filter(|(position, _)| !failed.contains(position)).map(|(_, pending)| pending);
        let delivered: Vec<&Pending> = delivered.collect();
        if delivered.is_empty() {
            return;
        }
        self.seen.note(Seen::Delivered);
        let sweeps = state.health.edit(|health| {
            delivered.iter().for_each(|pending| health[process].deliver(pending, now));
            health[process].sweeps()
        });
        if sweeps.len() < 2 {
            return self.settle_owing(state, process);
        }
        let mut mark = Mark::default();
        let tick = self.owed_tick(state, process);
        mark.invalidate_also(sweeps.into_iter().map(|Pending { node, key }| LogAddress { node, key }).collect(), tick);
        let rules = self.world.setup.rules;
        let tick = self.owed_tick(state, process);
        match mark.unheld_from(rules, tick.now) {
            Some(first) => {
                let (fresh, append) = Mark::begin(rules, mark.logs().0[first..].to_vec(), rules.hold, tick);
                self.courier(state, process, Leg::Hold(mark, first, fresh), append, Input::Start);
            }
            None => self.courier_releases(state, process, mark),
        }
    }

    fn courier_releases(&self, state: &mut State, process: usize, mark: Mark) {
        let append = mark.begin_release(self.world.setup.rules, self.world.clock(process, state.now));
        self.courier(state, process, Leg::Invalidate(mark), append, Input::Start);
    }

    /// An event of what is owed is named at once, and keeps its name.
    fn owed_tick(&self, state: &mut State, process: usize) -> Tick {
        let random = OWED + u64::from(state.uids);
        state.uids += 1;
        Tick { random, ..self.courier_tick(state, process) }
    }

    /// Writers whose invalidations have arrived have kept their promise.
    fn settle_owing(&self, state: &mut State, process: usize) {
        if !state.health[process].owed().is_empty() {
            return;
        }
        for index in 0..state.writers.len() {
            let owing = state.writers[index].stage == Stage::Owing && self.world.setup.writers[index].process == process;
            if owing {
                let made = state.writers[index].made.clone().unwrap_or_default();
                self.acknowledge(state, &made);
                Self::over(state, index);
            }
        }
    }
}
