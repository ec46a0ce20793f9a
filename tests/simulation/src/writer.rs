//! Writers: they do what an ORM's adapter does, through the same [`Face`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_core::climb::{Climbed, Row, Rows, Seed, climb, own_touches};
use cachesweeper_core::face::Face;
use cachesweeper_core::protocol::LogAddress;
use cachesweeper_core::{Mark, Micros, RecordKey};
use fastrand::Rng;

use crate::database::{Ended, Held, Transaction, now, read};
use crate::model::{Id, Key, Kind, Record, SimTable, seed};
use crate::process::Process;
use crate::profile::{Scheme, ms};
use crate::world::World;

/// Finds rows for a climb: as a transaction sees them, or by a fresh snapshot.
struct Finder<'a> {
    world: &'a World,
    life: usize,
    within: Option<&'a Transaction>,
}

impl Rows for Finder<'_> {
    type Table = SimTable;
    type Error = std::convert::Infallible;

    async fn find(&mut self, table: &'static SimTable, _by: &[String], values: Vec<Vec<Id>>) -> Result<Vec<Row<Id>>, Self::Error> {
        let keys: Vec<Key> = values.iter().filter_map(|values| Some((table.kind, *values.first()?))).collect();
        let own = self.within.map(|txn| txn.writes.clone()).unwrap_or_default();
        let rows = read(self.world, self.life, |tables| {
            keys.iter().filter_map(|key| own.get(key).or_else(|| tables.row(*key)).cloned()).collect::<Vec<Record>>()
        });
        let row = |row: Record| Row {
            record: row.key.0.record(row.key.1),
            key: vec![row.key.1],
            parents: row.parent.map(|parent| (0, vec![parent])).into_iter().collect(),
        };
        Ok(rows.await.into_iter().filter(|row| !row.deleted).map(row).collect())
    }
}

/// How a write reaches the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In a transaction whose end is seen.
    Seen,
    /// As a single statement.
    Alone,
    /// In a transaction whose end is not seen.
    Plain,
}

/// One writer's task.
pub struct Writer {
    process: Process,
    rng: Rng,
}

/// A write on its way.
struct Underway {
    number: usize,
    held: Arc<Mutex<Held>>,
    /// Counts it while it is on its way; also if its process dies.
    _guard: Counted,
}

struct Counted(Arc<World>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.state().writing -= 1;
    }
}

impl Underway {
    fn new(process: &Process, label: String) -> Self {
        let world = &process.world;
        world.trace(|| format!("p{} begins to write: {label}", process.life));
        let mut state = world.state();
        state.writing += 1;
        let number = state.history.begin(process.life, label);
        drop(state);
        Self { number, held: Arc::default(), _guard: Counted(world.clone()) }
    }

    /// A hold was opened, or renewed, on these records.
    fn held(&self, records: &[RecordKey], mark: &Mark) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.records = records.iter().cloned().collect();
        held.until = Some(mark.deadline());
        held.complete = !mark.has_failed();
    }

    fn renewed(&self, mark: &Mark) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).until = Some(mark.deadline());
    }
}

impl Writer {
    /// A writer of this process.
    pub fn new(process: Process, rng: Rng) -> Self {
        Self { process, rng }
    }

    /// Writes until the storm is over.
    pub async fn run(mut self) {
        let world = self.process.world.clone();
        while world.state().storm {
            tokio::time::sleep(ms(self.rng.u64(1..=world.knobs.writes_every))).await;
            world.step(self.process.life).await;
            self.write().await;
        }
    }

    async fn write(&mut self) {
        let world = self.process.world.clone();
        let mode = match self.rng.u8(..10) {
            0..=6 => Mode::Seen,
            7 | 8 => Mode::Alone,
            _ => Mode::Plain,
        };
        let mut txn = Transaction::new(&world, self.process.life);
        let since = self.process.sweeper.now();
        let (mut seeds, mut label, mut generated) = (Vec::new(), format!("{mode:?}"), false);
        let statements = if mode == Mode::Alone { 1 } else { [1, 1, 1, 2, 3][self.rng.usize(..5)] };
        for _ in 0..statements {
            match self.statement(&mut txn, mode, &mut seeds).await {
                Some((what, new)) => {
                    label = format!("{label}, {what}");
                    generated |= new;
                }
                None => return, // A lock was not to be had: rolled back.
            }
        }
        if seeds.is_empty() {
            return;
        }
        let underway = Underway::new(&self.process, label);
        match (world.profile.scheme, mode) {
            (Scheme::Unswept, _) if self.rng.u8(..10) == 0 => self.untold(txn, underway).await,
            (Scheme::AfterCommit, _) => self.told_after(txn, underway, seeds).await,
            (_, Mode::Seen) => self.seen(txn, underway, seeds, since).await,
            (_, Mode::Alone) => self.alone(txn, underway, seeds, generated).await,
            (_, Mode::Plain) => self.plain(txn, underway, seeds).await,
        }
    }

    /// One statement; what it does, and whether the database has made a key. `None` if a lock was not to be had.
    async fn statement(&mut self, txn: &mut Transaction, mode: Mode, seeds: &mut Vec<Seed<Id>>) -> Option<(String, bool)> {
        let knobs = self.process.world.knobs.clone();
        let (kind, id) = match self.rng.u8(..10) {
            0..=5 => (Kind::Comment, self.rng.u32(1..=knobs.comments)),
            6..=8 => (Kind::Article, self.rng.u32(1..=knobs.articles)),
            _ => (Kind::Section, self.rng.u32(1..=knobs.sections)),
        };
        let old = txn.lock((kind, id)).await.ok()??;
        let mut row = old.clone();
        row.version += 1;
        let mut generated = false;
        let others = match kind {
            Kind::Comment => knobs.articles,
            Kind::Article => knobs.sections,
            Kind::Section => 1,
        };
        let what = match (kind, self.rng.u8(..10)) {
            (Kind::Comment, _) if old.deleted => {
                (row.deleted, row.parent) = (false, Some(self.rng.u32(1..=others)));
                generated = self.rng.bool();
                "insert"
            }
            (Kind::Comment, 0) if mode != Mode::Alone => {
                row.deleted = true;
                "delete"
            }
            (Kind::Comment | Kind::Article, 1..=3) if mode != Mode::Alone => {
                row.parent = Some(self.rng.u32(1..=others));
                "move"
            }
            _ => "update",
        };
        if row.updated_at > 0 {
            row.updated_at = txn.stamp(old.updated_at);
        }
        txn.write(row.clone());
        let stamped = knobs.stamped;
        if !old.deleted {
            seeds.push(seed(&old, stamped, true));
        }
        // A row that will get its key from the database has no name before it is written.
        seeds.push(seed(&row, stamped, !(generated && mode == Mode::Alone)));
        if generated && mode == Mode::Alone {
            return Some((format!("{what} {}:{id} (generated)", kind.name()), true));
        }
        Some((format!("{what} {}:{id}", kind.name()), false))
    }

    async fn climb(&self, within: Option<&Transaction>, seeds: &[Seed<Id>]) -> Climbed<SimTable> {
        let finder = Finder { world: &self.process.world, life: self.process.life, within };
        match climb(&self.process.sweeper, finder, seeds).await {
            Ok(climbed) => climbed,
            Err(never) => match never {},
        }
    }

    /// Touches timestamps inside a transaction; `false` if a lock was not to be had.
    async fn touch(txn: &mut Transaction, climbed: &Climbed<SimTable>) -> bool {
        for (table, rows) in climbed.touches.values() {
            for key in rows.values() {
                let Some(&id) = key.first() else { continue };
                match txn.lock((table.kind, id)).await {
                    Ok(Some(mut row)) => {
                        row.updated_at = txn.stamp(row.updated_at);
                        txn.write(row);
                    }
                    Ok(None) => {}
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// Touches timestamps in a transaction of its own.
    async fn touch_alone(&self, climbed: &Climbed<SimTable>) {
        let process = &self.process;
        if climbed.touches.is_empty() {
            return;
        }
        let number = process.world.state().history.begin(process.life, "touch".into());
        loop {
            let mut txn = Transaction::new(&process.world, process.life);
            if Self::touch(&mut txn, climbed).await && txn.commit(number, Arc::default(), 0).await == Ended::Committed {
                return;
            }
        }
    }

    /// A transaction whose end is seen: find, touch, mark, COMMIT, find again, release.
    async fn seen(&mut self, mut txn: Transaction, underway: Underway, seeds: Vec<Seed<Id>>, since: Micros) {
        let sweeper = self.process.sweeper.clone();
        let pending = sweeper.changes_pending();
        let mut climbed = self.climb(Some(&txn), &seeds).await;
        let quick = sweeper.now() < since.plus(Micros::from(sweeper.config().hold / 2));
        if !quick {
            climbed.touch_also(own_touches(&seeds, |_: &SimTable, record| Some(vec![record.id().next()?.parse().ok()?])));
        }
        if !Self::touch(&mut txn, &climbed).await {
            return;
        }
        let Ok(mut mark) = sweeper.mark(&climbed.records).await else {
            self.process.world.fault("refused write");
            return;
        };
        underway.held(&climbed.records, &mark);
        sweeper.count_sweep();
        let ended = self.hold_while(&underway, &mut mark, txn).await;
        drop(pending);
        self.finish(ended, underway, mark, seeds, climbed, BTreeSet::new()).await;
    }

    /// `hold_while` of the sweeper, telling the history of renewals.
    async fn hold_while(&self, underway: &Underway, mark: &mut Mark, txn: Transaction) -> Ended {
        let world = &self.process.world;
        let most = 2 * world.knobs.hold;
        let commit = txn.commit(underway.number, underway.held.clone(), most);
        if world.profile.scheme == Scheme::Unrenewed {
            return commit.await;
        }
        let sweeper = &self.process.sweeper;
        let errors = sweeper.stats().store_errors;
        let ended = sweeper.hold_while(mark, commit).await;
        if sweeper.stats().store_errors == errors {
            // Every renewal has arrived, so the hold was open until the latest deadline.
            let mut state = world.state();
            let write = &mut state.history.writes[underway.number];
            write.claims_commit |= write.covered && write.clock.is_some_and(|clock| clock <= mark.deadline());
        }
        ended
    }

    /// What follows a COMMIT, by its outcome.
    async fn finish(
        &mut self,
        ended: Ended,
        underway: Underway,
        mut mark: Mark,
        seeds: Vec<Seed<Id>>,
        known: Climbed<SimTable>,
        also: BTreeSet<RecordKey>,
    ) {
        let sweeper = self.process.sweeper.clone();
        match ended {
            Ended::RolledBack => sweeper.release(&mark).await,
            Ended::Committed => {
                let mut beyond = Climbed::default();
                if known.queried {
                    beyond = self.climb(None, &seeds).await.beyond(&known);
                }
                self.settle(underway, mark, known, beyond, also).await;
            }
            Ended::Unknown => {
                sweeper.count_unknown_commit();
                let process = self.process.clone();
                let rng = self.rng.fork();
                self.process.spawn(async move {
                    let until = tokio::time::Instant::now() + sweeper.config().unknown_commit_limit;
                    while tokio::time::Instant::now() < until {
                        sweeper.renew(&mut mark).await;
                        underway.renewed(&mark);
                        tokio::time::sleep(sweeper.config().hold / 2).await;
                    }
                    let writer = Self { process, rng };
                    writer.settle(underway, mark, Climbed::default(), known, also).await;
                });
            }
        }
    }

    /// Touches and invalidates `beyond`, releases the hold, and tells the caller.
    async fn settle(&self, underway: Underway, mark: Mark, known: Climbed<SimTable>, beyond: Climbed<SimTable>, also: BTreeSet<RecordKey>) {
        let sweeper = &self.process.sweeper;
        self.touch_alone(&beyond).await;
        let mut records = beyond.records;
        records.extend(also);
        let logs = |mark: &Mark| [mark.logs().0, mark.logs().1].concat();
        let mut told = logs(&mark);
        sweeper.release_and_invalidate(mark, &records).await;
        told.extend(self.process.logs_of(&records));
        drop(known);
        self.acknowledge(&underway, told).await;
    }

    /// The caller has its answer. What the store is owed of it suspends the promises until it is delivered.
    async fn acknowledge(&self, underway: &Underway, logs: Vec<LogAddress>) {
        let (process, number) = (&self.process, underway.number);
        process.world.step(process.life).await;
        let moment = now(&process.world);
        process.world.state().history.writes[number].acknowledged = Some(moment);
        let owes = process.owes(&logs);
        process.world.trace(|| format!("p{} acknowledges write {number}{}", process.life, if owes { ", with something owed" } else { "" }));
        if !owes {
            process.world.state().history.writes[number].delivered = Some(moment);
            return;
        }
        process.world.fault("owed invalidation");
        let waiting = process.clone();
        process.spawn(async move {
            while waiting.owes(&logs) {
                tokio::time::sleep(ms(1)).await;
            }
            waiting.world.step(waiting.life).await;
            let moment = now(&waiting.world);
            waiting.world.state().history.writes[number].delivered = Some(moment);
            waiting.world.trace(|| format!("p{} has delivered what it owed of write {number}", waiting.life));
        });
    }

    /// A single statement between its two hooks, in one transaction with the touches of what is above its row.
    async fn alone(&mut self, mut txn: Transaction, underway: Underway, seeds: Vec<Seed<Id>>, generated: bool) {
        let sweeper = self.process.sweeper.clone();
        let row = txn.writes.keys().next().copied();
        // Nothing is known of the row but what is in hand and in the database.
        let climbed = self.climb(None, &seeds).await;
        let Ok(mut mark) = sweeper.mark(&climbed.records).await else { return };
        if !generated {
            underway.held(&climbed.records, &mark);
        }
        if let Some((kind, id)) = row
            && let Ok(Some(mut row)) = txn.lock((kind, id)).await
        {
            row.updated_at = if row.updated_at > 0 { txn.stamp(row.updated_at) } else { 0 };
            txn.write(row);
        }
        if !Self::touch(&mut txn, &climbed).await {
            return sweeper.release(&mark).await;
        }
        let ended = self.hold_while(&underway, &mut mark, txn).await;
        // The hook afterwards invalidates the row itself.
        let also = row.map(|(kind, id)| kind.record(id)).into_iter().collect();
        self.finish(ended, underway, mark, seeds, climbed, also).await;
    }

    /// A transaction whose end is not seen: touched and marked at once.
    async fn plain(&mut self, mut txn: Transaction, underway: Underway, seeds: Vec<Seed<Id>>) {
        let sweeper = self.process.sweeper.clone();
        let climbed = self.climb(Some(&txn), &seeds).await;
        if !Self::touch(&mut txn, &climbed).await {
            return;
        }
        sweeper.count_plain_write();
        let Ok(mark) = sweeper.mark_plain(&climbed.records).await else { return };
        let logs = self.process.logs_of(&climbed.records);
        underway.held(&climbed.records, &mark);
        // What could not be marked is owed already.
        underway.held.lock().unwrap_or_else(PoisonError::into_inner).complete = !self.process.owes(&logs);
        tokio::time::sleep(ms(self.rng.u64(..self.process.world.knobs.hold / 2))).await;
        if txn.commit(underway.number, underway.held.clone(), 0).await == Ended::Committed {
            // Nothing is done afterwards: it is promised if the hold was in time and is kept, and nobody moved meanwhile.
            let promised = {
                let state = self.process.world.state();
                let held = underway.held.lock().unwrap_or_else(PoisonError::into_inner);
                let write = &state.history.writes[underway.number];
                write.records.is_subset(&held.records) && write.clock.zip(held.until).is_some_and(|(clock, until)| clock <= until)
            };
            if promised && (!self.process.world.profile.evicts_holds || self.process.world.profile.strict) {
                self.acknowledge(&underway, logs).await;
            }
        }
    }

    /// A write that goes past the cache.
    async fn untold(&self, txn: Transaction, underway: Underway) {
        self.process.world.fault("unswept write");
        if txn.commit(underway.number, underway.held.clone(), 0).await == Ended::Committed {
            self.acknowledge(&underway, Vec::new()).await;
        }
    }

    /// The naive scheme: COMMIT, then invalidate.
    async fn told_after(&self, mut txn: Transaction, underway: Underway, seeds: Vec<Seed<Id>>) {
        let climbed = self.climb(Some(&txn), &seeds).await;
        if !Self::touch(&mut txn, &climbed).await {
            return;
        }
        if txn.commit(underway.number, underway.held.clone(), 0).await == Ended::Committed {
            self.process.sweeper.invalidate_records(&climbed.records).await;
            self.acknowledge(&underway, self.process.logs_of(&climbed.records)).await;
        }
    }
}
