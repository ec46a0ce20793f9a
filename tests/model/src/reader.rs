//! Readers: the driver of `Serve`, with the flights of a process, and the check of everything that is served.

use std::sync::Arc;

use bytes::Bytes;
use cachesweeper_core::protocol::{Mode, Reason, Serve, ServeInput, ServeStep, Served, Unstored};
use cachesweeper_core::store::{Action as StoreAction, Op, Reply};
use cachesweeper_core::version::Stamp;
use cachesweeper_core::{Micros, Tick};

use crate::db::Truth;
use crate::hashed::Hashed;
use crate::model::Checked;
use crate::scheme::UNNAMED;
use crate::seen::Seen;
use crate::setup::{Claim, Reads, Scheme};
use crate::state::{Bounds, Frame, Reader, Run, State, Turn, Wait};
use crate::store::{Batch, Late};
use crate::world::{BEGINNING, body, shown_by};

/// How a flight ended, for those who follow it.
enum Landed {
    Shared(Bytes),
    Private,
    Abandoned,
}

impl Checked {
    fn process(&self, reader: usize) -> usize {
        self.world.setup.readers[reader].process
    }

    /// A reader's tick. Its uids get their names when they land.
    fn reader_tick(&self, state: &State, reader: usize, input: &ServeInput) -> Tick {
        // A lookup that is sent takes the time of its tokens; where nobody asks for that, there is none.
        let timeless = matches!(input, ServeInput::Start) && !self.world.setup.has_ages();
        let now = if timeless { Micros(BEGINNING) } else { self.world.clock(self.process(reader), state.now) };
        Tick { now, random: UNNAMED }
    }

    pub(crate) fn sends_uid(&self, ops: &[Op]) -> bool {
        ops.iter().any(|op| {
            let versioned = op.key == self.world.marker || self.world.is_log(&op.key);
            versioned && matches!(op.action, StoreAction::Add(..) | StoreAction::Set(..) | StoreAction::Replace(..))
        })
    }

    fn load(&self, state: &State, fragment: usize) -> Bytes {
        let rows = &self.world.setup.fragments[fragment].shows;
        body(&rows.iter().map(|&row| (row, state.db.truth[row])).collect::<Vec<_>>())
    }

    fn frame(&self, state: &State, reader: usize, fragment: usize) -> Frame {
        let world = &self.world;
        let spec = world.setup.readers[reader];
        let page = spec.reads == Reads::Page;
        let mode = if page { Mode::Page(world.clock(spec.process, state.now)) } else { Mode::Closure };
        let rows = world.shown(fragment);
        let of = |truths: &[Truth]| rows.iter().map(|&row| truths[row]).collect();
        let aged = world.setup.fragments[fragment].serve_stale.map(|age| {
            // Acknowledged in an earlier tick than the tokens can have been read in.
            let before = |at: u8| u64::from(at) + age + world.setup.rules.skew.0 < u64::from(state.now);
            let newest = |row: &usize| state.db.history[*row].iter().filter(|(_, at)| before(*at)).map(|(truth, _)| *truth).max();
            rows.iter().map(|row| newest(row).unwrap_or(0)).collect()
        });
        let claims = &world.setup.claims;
        // Only what is checked: fewer states that differ in nothing.
        let committed = if claims.contains(&Claim::Commit) { of(&state.db.truth) } else { Vec::new() };
        let acked = if claims.contains(&Claim::Ack) { of(&state.db.acked) } else { Vec::new() };
        let bounds = Bounds { committed, acked, aged: aged.unwrap_or_default() };
        let near = state.near.get(&(spec.process, fragment)).cloned();
        let query = world.queries[fragment].clone().with_near(near);
        let serve = Serve::new(world.setup.rules, world.namespace.clone(), mode, vec![query]);
        let body = (page || world.setup.old_snapshot).then(|| self.load(state, fragment));
        Frame { fragment, serve, bounds, body, tainted: false, leads: None, gathers: None }
    }

    /// A read begins.
    ///
    /// A closure's lookup begins when its first message arrives: what lies between would only weaken the check. A page is
    /// opened and loads its data at once: data that it loads later are newer, and are stored under the same conditions.
    pub(crate) fn read(&self, state: &mut State, reader: usize) {
        let spec = self.world.setup.readers[reader];
        let run = Run { frames: vec![self.frame(state, reader, spec.fragment)], wait: Wait::Lookup };
        match spec.reads {
            Reads::Page => state.readers[reader] = Hashed::new(Reader::Busy(run)),
            Reads::Closure => self.drive(state, reader, run, ServeInput::Start),
        }
    }

    /// The read that a reader is at; the reader is idle until it is put back.
    pub(crate) fn take(&self, state: &mut State, reader: usize) -> Option<Run> {
        match &*std::mem::replace(&mut state.readers[reader], self.idle.clone()) {
            Reader::Busy(run) => Some(run.clone()),
            Reader::Idle => None,
        }
    }

    fn put(state: &mut State, reader: usize, run: Run, wait: Wait) {
        state.readers[reader] = Hashed::new(Reader::Busy(Run { wait, ..run }));
    }

    /// All replies are there.
    pub(crate) fn reader_heard(&self, state: &mut State, reader: usize, batch: &Batch) {
        let Some(run) = self.take(state, reader) else { return };
        let replies = self.hear(state, self.process(reader), batch);
        self.drive(state, reader, run, ServeInput::Replies(replies));
    }

    /// All replies are there, and the process stands still.
    pub(crate) fn reader_pauses(&self, state: &mut State, reader: usize, batch: Batch) {
        let now = state.now;
        if let Some(run) = self.take(state, reader) {
            Self::put(state, reader, run, Wait::Paused(batch, now));
        }
    }

    /// The data are loaded; `pause` before anything is made of them.
    pub(crate) fn reader_loads(&self, state: &mut State, reader: usize, pause: bool) {
        let Some(mut run) = self.take(state, reader) else { return };
        let frame = run.frames.last_mut().expect("a read has a fragment");
        let loaded = self.load(state, frame.fragment);
        frame.body.get_or_insert(loaded);
        if let Some(inner) = self.world.setup.fragments[frame.fragment].inner {
            run.frames.push(self.frame(state, reader, inner));
            return self.drive(state, reader, run, ServeInput::Start);
        }
        if pause {
            let now = state.now;
            return Self::put(state, reader, run, Wait::Loaded(now));
        }
        self.rendered(state, reader, run);
    }

    /// It goes on.
    pub(crate) fn reader_resumes(&self, state: &mut State, reader: usize) {
        let Some(run) = self.take(state, reader) else { return };
        match run.wait.clone() {
            Wait::Lookup => self.drive(state, reader, run, ServeInput::Start),
            Wait::Paused(batch, _) => {
                let replies = self.hear(state, self.process(reader), &batch);
                self.drive(state, reader, run, ServeInput::Replies(replies));
            }
            Wait::Sleep => self.drive(state, reader, run, ServeInput::Slept),
            Wait::Loaded(_) => self.rendered(state, reader, run),
            wait => Self::put(state, reader, run, wait),
        }
    }

    /// Its caller goes away: what it has sent may still land, and what it leads is led by nobody.
    pub(crate) fn reader_leaves(&self, state: &mut State, reader: usize) {
        let Some(mut run) = self.take(state, reader) else { return };
        if let Wait::Replies(mut batch) = run.wait {
            self.lose(state, &mut batch);
        }
        while let Some(frame) = run.frames.pop() {
            self.end_flight(state, reader, frame.leads, Landed::Abandoned);
            self.end_gathering(state, reader, frame.gathers, None);
        }
    }

    /// Everything that is left of a batch lands late, or not at all.
    pub(crate) fn lose(&self, state: &mut State, batch: &mut Batch) {
        for node in 0..self.world.setup.nodes() {
            let rest = batch.cut(node);
            self.send_late(state, rest, batch.sent);
        }
    }

    pub(crate) fn send_late(&self, state: &mut State, ops: Vec<Op>, sent: u8) {
        let landing = u8::try_from(self.world.setup.rules.landing.0).unwrap_or(u8::MAX);
        let by = sent.saturating_add(landing).saturating_add(self.world.setup.late_landing);
        if !ops.is_empty() && by >= state.now {
            let ops = ops.into_iter().map(crate::store::Message).collect();
            state.late.edit(|late| {
                late.push(Late { by, ops });
                late.sort();
            });
        }
    }

    /// The render has ended: those who share it get it, then it is stored.
    fn rendered(&self, state: &mut State, reader: usize, mut run: Run) {
        let frame = run.frames.last_mut().expect("a read has a fragment");
        let body = frame.body.clone().unwrap_or_default();
        let storable = !frame.tainted || self.world.setup.scheme == Scheme::NoTaint;
        let (flight, gathering) = (frame.leads.take(), frame.gathers.take());
        // Put it out of the way first: those who share it are driven on from here.
        let landed = if storable { Landed::Shared(body.clone()) } else { Landed::Private };
        self.drive(state, reader, run, ServeInput::Rendered(vec![body.clone()], storable));
        self.end_flight(state, reader, flight, landed);
        self.end_gathering(state, reader, gathering, Some(body));
    }

    fn same_flight(&self, left: (&str, Stamp), right: (&str, Stamp)) -> bool {
        left.0 == right.0 && (left.1 == right.1 || self.world.setup.scheme == Scheme::FlightByKey)
    }

    fn others(&self, state: &State, reader: usize) -> Vec<(usize, Run)> {
        let others = (0..state.readers.len()).filter(|&other| other != reader && self.process(other) == self.process(reader));
        others
            .filter_map(|other| match &*state.readers[other] {
                Reader::Busy(run) => Some((other, run.clone())),
                Reader::Idle => None,
            })
            .collect()
    }

    fn end_flight(&self, state: &mut State, reader: usize, flight: Option<(Arc<str>, Stamp)>, landed: Landed) {
        let Some((key, stamp)) = flight else { return };
        for (other, run) in self.others(state, reader) {
            let Wait::Follow(wanted, version) = &run.wait else { continue };
            if !self.same_flight((wanted, *version), (&key, stamp)) {
                continue;
            }
            let (wanted, version) = (wanted.clone(), *version);
            let Some(run) = self.take(state, other) else { continue };
            match &landed {
                Landed::Shared(body) => self.drive(state, other, run, ServeInput::Joined(vec![(0, body.clone())])),
                Landed::Private => self.drive(state, other, run, ServeInput::Joined(Vec::new())),
                Landed::Abandoned => self.join(state, other, run, wanted, version, false),
            }
        }
    }

    /// Joins a flight, or leads it.
    fn join(&self, state: &mut State, reader: usize, mut run: Run, key: Arc<str>, stamp: Stamp, impatient: bool) {
        let led = |run: &Run| {
            let leads = run.frames.iter().filter_map(|frame| frame.leads.as_ref());
            leads.into_iter().any(|(other, version)| self.same_flight((other, *version), (&key, stamp)))
        };
        if self.world.setup.flights && self.others(state, reader).iter().any(|(_, other)| led(other)) {
            if !impatient {
                return Self::put(state, reader, run, Wait::Follow(key, stamp));
            }
            let frame = run.frames.last_mut().expect("a read has a fragment");
            frame.serve.serve_impatient(0);
        } else if self.world.setup.flights {
            let frame = run.frames.last_mut().expect("a read has a fragment");
            frame.leads = Some((key, stamp));
        }
        self.drive(state, reader, run, ServeInput::Joined(Vec::new()));
    }

    fn turns<'a>(&self, others: &'a [(usize, Run)], key: &str, stamp: Stamp) -> Vec<(usize, Turn, &'a Run)> {
        let mut turns = Vec::new();
        for (other, run) in others {
            for frame in &run.frames {
                if let Some((name, version, turn)) = &frame.gathers
                    && **name == *key
                    && *version == stamp
                {
                    turns.push((*other, *turn, run));
                }
            }
        }
        turns
    }

    /// Renders what cannot be stored, or waits for a render that begins after this moment.
    fn gather(&self, state: &mut State, reader: usize, mut run: Run, key: Arc<str>, stamp: Stamp) {
        if !self.world.setup.flights {
            return self.drive(state, reader, run, ServeInput::Gathered(None));
        }
        let others = self.others(state, reader);
        let turns = self.turns(&others, &key, stamp);
        let has = |wanted| turns.iter().any(|(_, turn, _)| *turn == wanted);
        let turn = match (has(Turn::Running), has(Turn::Next)) {
            (true, _) if self.world.setup.scheme == Scheme::JoinRunningBypass => Turn::Rides,
            (_, true) => Turn::Follows,
            (true, false) => Turn::Next,
            (false, false) => Turn::Running,
        };
        let frame = run.frames.last_mut().expect("a read has a fragment");
        frame.gathers = Some((key, stamp, turn));
        if turn == Turn::Running {
            return self.drive(state, reader, run, ServeInput::Gathered(None));
        }
        Self::put(state, reader, run, Wait::Turn);
    }

    /// The end of a part in a gathering; with a body if it rendered.
    fn end_gathering(&self, state: &mut State, reader: usize, part: Option<(Arc<str>, Stamp, Turn)>, body: Option<Bytes>) {
        let Some((key, stamp, ended)) = part else { return };
        let others = self.others(state, reader);
        let turns: Vec<(usize, Turn)> = self.turns(&others, &key, stamp).into_iter().map(|(other, turn, _)| (other, turn)).collect();
        let of = |wanted| turns.iter().filter(move |(_, turn)| *turn == wanted).map(|(other, _)| *other);
        let clear = |run: &mut Run| run.frames.iter_mut().for_each(|frame| frame.gathers = None);
        let (waiting, next) = match ended {
            Turn::Running => (of(Turn::Rides).collect::<Vec<_>>(), of(Turn::Next).next()),
            Turn::Next => (of(Turn::Follows).collect(), None),
            Turn::Follows | Turn::Rides => return,
        };
        if let Some(next) = next {
            // The next render begins: who comes from now on waits for the one after it.
            for follower in of(Turn::Follows).collect::<Vec<_>>() {
                state.readers[follower].edit(|known| {
                    if let Reader::Busy(run) = known {
                        run.frames.iter_mut().filter_map(|frame| frame.gathers.as_mut()).for_each(|(.., turn)| *turn = Turn::Rides);
                    }
                });
            }
            if let Some(mut run) = self.take(state, next) {
                run.frames.iter_mut().filter_map(|frame| frame.gathers.as_mut()).for_each(|(.., turn)| *turn = Turn::Running);
                self.drive(state, next, run, ServeInput::Gathered(None));
            }
        }
        for other in waiting {
            let Some(mut run) = self.take(state, other) else { continue };
            clear(&mut run);
            match &body {
                Some(body) => {
                    self.seen.note(Seen::Gathered);
                    self.drive(state, other, run, ServeInput::Gathered(Some(body.clone())));
                }
                None => self.gather(state, other, run, key.clone(), stamp),
            }
        }
    }

    /// Whether it matters when the data are loaded: whether the render will be stored, or shared.
    fn loads_matter(&self, frame: &Frame, tick: Tick) -> bool {
        if self.world.setup.fragments[frame.fragment].inner.is_some() || frame.gathers.is_some() {
            return true;
        }
        let end = frame.serve.clone().advance(ServeInput::Rendered(vec![Bytes::new()], true), tick);
        matches!(end, ServeStep::Run(_))
    }

    /// Runs the innermost machine until it waits for something.
    ///
    /// A machine's own step happens together with the reply that it was waiting for: nothing else sees it before its next
    /// message arrives, so an interleaving in between would show nothing new. Only time could pass; that is what pauses are for.
    fn drive(&self, state: &mut State, reader: usize, mut run: Run, mut input: ServeInput) {
        loop {
            let tick = self.reader_tick(state, reader, &input);
            let frame = run.frames.last_mut().expect("a read has a fragment");
            input = match frame.serve.advance(input, tick) {
                ServeStep::Run(ops) => {
                    let batch = self.send(state, self.process(reader), ops);
                    if !batch.is_complete() {
                        return Self::put(state, reader, run, Wait::Replies(batch));
                    }
                    ServeInput::Replies(self.hear(state, self.process(reader), &batch))
                }
                ServeStep::Sleep(_) => {
                    self.seen.note(Seen::LeaseBusy);
                    return Self::put(state, reader, run, Wait::Sleep);
                }
                ServeStep::Join(flights) => {
                    let flight = flights.into_iter().next().expect("one query makes one flight");
                    return self.join(state, reader, run, flight.key, flight.stamp, flight.impatient);
                }
                ServeStep::Gather(flight) => return self.gather(state, reader, run, flight.key, flight.stamp),
                ServeStep::Render(_) => {
                    let page = self.world.setup.readers[reader].reads == Reads::Page;
                    if !page && self.loads_matter(frame, tick) {
                        return Self::put(state, reader, run, Wait::Load);
                    }
                    // Otherwise the caller alone sees it, and it is as new as it can be.
                    let body = frame.body.clone().unwrap_or_else(|| self.load(state, frame.fragment));
                    ServeInput::Rendered(vec![body], true)
                }
                ServeStep::Done(served) => {
                    let served = served.into_iter().next().expect("one query has one answer");
                    let (leads, gathers) = (frame.leads.take(), frame.gathers.take());
                    self.check(state, reader, frame, &served);
                    self.keep_near(state, self.process(reader), frame.fragment, &served);
                    let (body, cacheable) = outcome(&served);
                    run.frames.pop();
                    let landed = match served {
                        Served::Hit(cached) => Landed::Shared(cached.body),
                        _ => Landed::Abandoned,
                    };
                    match run.frames.last_mut() {
                        Some(outer) => {
                            let own = outer.body.take().unwrap_or_default();
                            outer.body = Some([&own[..], b" ", &body[..]].concat().into());
                            outer.tainted |= !cacheable;
                            self.rendered(state, reader, run);
                        }
                        None => state.readers[reader] = self.idle.clone(),
                    }
                    self.end_flight(state, reader, leads, landed);
                    return self.end_gathering(state, reader, gathers, None);
                }
            };
        }
    }

    /// What `Shared::keep_near` does.
    fn keep_near(&self, state: &mut State, process: usize, fragment: usize, served: &Served) {
        let (Served::Hit(cached) | Served::Filled(cached)) = served else { return };
        if !self.world.setup.near {
            return;
        }
        match state.near.get(&(process, fragment)) {
            Some(near) if near.stamp == cached.stamp => self.seen.note(Seen::NearHit),
            known => {
                if known.is_some() {
                    self.seen.note(Seen::NearChanged);
                }
                let cached = cached.clone();
                state.near.edit(|near| drop(near.insert((process, fragment), cached)));
            }
        }
    }

    fn check(&self, state: &mut State, reader: usize, frame: &Frame, served: &Served) {
        let page = self.world.setup.readers[reader].reads == Reads::Page;
        let seen = match served {
            Served::Hit(_) => Seen::Hit,
            Served::Shared(_) => Seen::Shared,
            Served::Stale(_) => Seen::Stale,
            Served::Filled(_) if page => Seen::PageFill,
            Served::Filled(_) => Seen::Fill,
            Served::Unstored(_, Unstored::Inner) => Seen::Tainted,
            Served::Unstored(_, Unstored::LoadedTooEarly) => Seen::TooEarly,
            Served::Unstored(_, Unstored::Bypass(Reason::Held)) => Seen::BypassHeld,
            Served::Unstored(_, Unstored::Bypass(Reason::Quarantine)) => Seen::BypassQuarantine,
            Served::Unstored(_, Unstored::Bypass(Reason::Adopted)) => Seen::BypassAdopted,
            Served::Unstored(..) => Seen::Fill,
        };
        self.seen.note(seen);
        if frame.tainted && !matches!(served, Served::Filled(_)) {
            // It shows a version that its caller was willing to see.
            return;
        }
        let (body, _) = outcome(served);
        let shown = shown_by(&body);
        let rows = self.world.shown(frame.fragment);
        let older = |bounds: &[Truth]| {
            let mut rows = rows.iter().zip(bounds);
            rows.any(|(row, bound)| shown.get(row).is_some_and(|truth| truth < bound))
        };
        if seen == Seen::Hit && shown.values().any(|&truth| truth > 0) {
            self.seen.note(Seen::HitAfterWrite);
        }
        if seen == Seen::Hit && state.budget == crate::setup::Budget::default() {
            self.seen.note(Seen::HitAfterFault);
        }
        let claims = &self.world.setup.claims;
        let found = if seen == Seen::Stale {
            (claims.contains(&Claim::Bound) && older(&frame.bounds.aged)).then_some(Claim::Bound)
        } else if claims.contains(&Claim::Ack) && older(&frame.bounds.acked) {
            Some(Claim::Ack)
        } else {
            (claims.contains(&Claim::Commit) && older(&frame.bounds.committed)).then_some(Claim::Commit)
        };
        state.violation = state.violation.or(found);
    }

    pub(crate) fn note_reply(&self, op: &Op, reply: &Reply) {
        if matches!((&op.action, reply), (StoreAction::Replace(..), Reply::Done)) && self.world.is_log(&op.key) {
            self.seen.note(Seen::Compacted);
        }
    }
}

/// What its caller gets, and whether a fragment around it may be stored; the second as `Outcome` says.
fn outcome(served: &Served) -> (Bytes, bool) {
    match served {
        Served::Hit(cached) => (cached.body.clone(), true),
        Served::Filled(cached) => (cached.body.clone(), true),
        Served::Shared(body) => (body.clone(), true),
        Served::Stale(cached) => (cached.body.clone(), false),
        Served::Unstored(body, why) => {
            let cacheable = matches!(why, Unstored::TooLarge | Unstored::Failed(_) | Unstored::Bypass(Reason::InvalidTtl));
            (body.clone(), cacheable)
        }
    }
}
