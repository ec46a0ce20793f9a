//! What the two faces of a sweeper, async and blocking, offer to ORMs' adapters: marks, releases, counts and reports.
//!
//! It is written once, as futures. Those of the blocking face are ready at their first poll, so [`now`] runs them without
//! a runtime.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::protocol::{Append, Appended, LogAddress, Machine};
use crate::registry::Graph;
use crate::shared::{MARKED_AT_ONCE, Mark, Shared};
use crate::stats::Counters;
use crate::{ChangesPending, Config, Error, Micros, RecordKey};

/// A point of a write's life at which tests of faults stop or kill the process. Nothing without the feature `failpoints`.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

/// A sweeper of either face, as an ORM's adapter sees it. Applications do not need it.
pub trait Face: Clone + fmt::Debug + Send + Sync + 'static {
    #[doc(hidden)]
    fn shared(&self) -> &Arc<Shared>;

    #[doc(hidden)]
    fn drive<M: Machine + Send>(&self, machine: M) -> impl Future<Output = M::Output> + Send
    where
        M::Output: Send;

    #[doc(hidden)]
    fn deliver_later(&self);

    /// Renews the hold at half time while `commit` runs.
    fn hold_while<T: Send>(&self, mark: &mut Mark, commit: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send;

    /// Renews the hold in the background for as long as a write with an unknown outcome may still land; then releases it.
    fn hold_on(&self, mark: Mark);

    /// Whether two handles are of the same sweeper; the two faces of one sweeper are the same too.
    fn is_same(&self, other: &impl Face) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }

    /// The registered entities and their relations.
    fn graph(&self) -> &Graph {
        &self.shared().graph
    }

    /// The settings.
    fn config(&self) -> &Config {
        &self.shared().config
    }

    /// The sweeper's clock.
    fn now(&self) -> Micros {
        self.shared().clock.now()
    }

    /// What an ORM's adapter keeps per sweeper.
    fn adapter<T: Any + Send + Sync>(&self, init: impl FnOnce() -> T) -> Arc<T> {
        self.shared().adapters.get(init)
    }

    /// Counts a sweep.
    fn count_sweep(&self) {
        Counters::bump(&self.shared().counters.sweeps);
    }

    /// Counts a write in a transaction whose end cannot be seen; `true` the first time.
    fn count_plain_write(&self) -> bool {
        Counters::bump(&self.shared().counters.plain_writes);
        self.shared().first_time("plain write")
    }

    /// Counts a commit whose outcome is unknown.
    fn count_unknown_commit(&self) {
        Counters::bump(&self.shared().counters.commits_unknown);
    }

    /// Counts a write that no hook or wrapper saw.
    fn count_unswept_write(&self) {
        Counters::bump(&self.shared().counters.writes_unswept);
    }

    /// Counts a record whose ancestors are deeper than their bound, and says so once per entity.
    fn report_depth(&self, record: &RecordKey, bound: u32) {
        Counters::bump(&self.shared().counters.depth_exceeded);
        if self.shared().first_time(&format!("depth: {}", record.entity())) {
            tracing::warn!(%record, bound, "its ancestors are deeper than the bound; the whole entity is invalidated. Raise #[sweep(max_depth = …)] if such trees are common");
        }
    }

    /// Reports that a committed write's ancestors could not be found.
    fn report_incomplete(&self, error: &Error) {
        self.shared().sweep_incomplete(error);
    }

    /// Whether `what` is reported for the first time.
    fn first_time(&self, what: &str) -> bool {
        self.shared().first_time(what)
    }

    /// Tells that this task or thread has changes pending until the guard is dropped: its lookups bypass.
    fn changes_pending(&self) -> ChangesPending {
        self.shared().changes.begin()
    }

    /// Invalidates exactly these records, now.
    fn invalidate_records(&self, records: &[RecordKey]) -> impl Future<Output = ()> + Send {
        let logs = self.shared().logs(records);
        async move {
            if logs.is_empty() {
                return;
            }
            Counters::add(&self.shared().counters.records_swept, logs.len());
            self.invalidate_logs(logs).await;
        }
    }

    #[doc(hidden)]
    fn invalidate_logs(&self, logs: Vec<LogAddress>) -> impl Future<Output = ()> + Send {
        let mut mark = Mark::default();
        mark.invalidate_also(logs, self.shared().clock.tick());
        async move { self.release(&mark).await }
    }

    /// Delivers what is owed to the store, once.
    #[doc(hidden)]
    fn deliver(&self) -> impl Future<Output = ()> + Send {
        async move {
            if let Some((owed, append)) = self.shared().begin_delivery() {
                let appended = drive_in_parts(self, append).await;
                let again = self.shared().end_delivery(&owed, &appended);
                if !again.is_empty() {
                    self.invalidate_logs(again).await;
                }
            }
        }
    }

    /// Opens a hold on these records: readers neither serve nor store fragments of them until it is released.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] under [`Policy::Abort`](crate::Policy::Abort), if a store node does not answer.
    fn mark(&self, records: &[RecordKey]) -> impl Future<Output = Result<Mark, Error>> + Send {
        mark_for(self, self.shared().logs(records), self.shared().rules.hold)
    }

    /// As [`mark`](Self::mark), for a transaction whose end cannot be seen.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    fn mark_plain(&self, records: &[RecordKey]) -> impl Future<Output = Result<Mark, Error>> + Send {
        let marking = mark_for(self, self.shared().logs(records), self.config().plain_hold.into());
        async move {
            let mut mark = marking.await?;
            // Its end will not be seen, so what could not be marked is delivered as soon as possible.
            self.shared().owe(&mark, mark.failed.clone(), mark.deadline);
            mark.failed.clear();
            self.deliver_later();
            Ok(mark)
        }
    }

    /// Delivers what could not be marked as soon as its node answers, should nobody be left to release it.
    fn owe_failed(&self, mark: &Mark) {
        if !mark.failed.is_empty() {
            self.shared().owe(mark, mark.failed.clone(), mark.deadline);
            self.deliver_later();
        }
    }

    /// Opens the hold anew, because the COMMIT takes long.
    fn renew(&self, mark: &mut Mark) -> impl Future<Output = ()> + Send {
        let hold = self.shared().hold_for(mark.logs.len(), self.shared().rules.hold);
        mark_again(self, mark, hold)
    }

    /// Ends a hold after the write has committed, or was rolled back.
    fn release(&self, mark: &Mark) -> impl Future<Output = ()> + Send {
        async move {
            if mark.is_empty() {
                return;
            }
            // COMMIT has returned.
            fail_point!("before-release");
            let (shared, mut mark) = (self.shared(), Cow::Borrowed(mark));
            if let Some(first) = mark.unheld_from(shared.rules, shared.clock.now()) {
                let hold = shared.hold_for(mark.logs.len() - first, shared.rules.hold);
                let (fresh, append) = shared.begin_mark(mark.logs[first..].to_vec(), hold);
                let appended = drive_in_parts(self, append).await;
                mark.to_mut().held_from(first, fresh, &appended);
            }
            let append = shared.begin_release(&mark);
            let appended = drive_in_parts(self, append).await;
            shared.end_release(&mark, &appended);
            self.deliver_later();
        }
    }

    /// Ends a hold after the write has committed, and invalidates further records with it.
    fn release_and_invalidate(&self, mut mark: Mark, records: &[RecordKey]) -> impl Future<Output = ()> + Send {
        let mut more = self.shared().logs(records);
        async move {
            if !more.is_empty() {
                let known: HashSet<&LogAddress> = mark.logs.iter().collect();
                more.retain(|log| !known.contains(log));
            }
            if more.is_empty() {
                return self.release(&mark).await;
            }
            Counters::add(&self.shared().counters.records_swept, more.len());
            mark.invalidate_also(more, self.shared().clock.tick());
            self.release(&mark).await;
        }
    }
}

/// Writes to many logs in batches of a bounded size.
async fn drive_in_parts<S: Face>(sweeper: &S, append: Append) -> Appended {
    let mut all = Appended::default();
    for (first, part) in append.in_parts(MARKED_AT_ONCE) {
        all.add(first, sweeper.drive(part).await);
    }
    all
}

async fn mark_again<S: Face>(sweeper: &S, mark: &mut Mark, hold: Micros) {
    Counters::bump(&sweeper.shared().counters.renewals);
    let (mut fresh, append) = sweeper.shared().begin_mark(mark.logs.clone(), hold);
    let appended = drive_in_parts(sweeper, append).await;
    fresh.made(sweeper.now(), hold);
    mark.renewed(fresh, &appended);
}

async fn mark_for<S: Face>(sweeper: &S, logs: Vec<LogAddress>, hold: Micros) -> Result<Mark, Error> {
    let shared = sweeper.shared();
    if logs.is_empty() {
        return Ok(shared.begin_mark(logs, hold).0);
    }
    Counters::add(&shared.counters.records_swept, logs.len());
    fail_point!("before-mark");
    let enough = Micros(hold.0 / 2);
    let hold = shared.hold_for(logs.len(), hold);
    let (mut mark, append) = shared.begin_mark(logs, hold);
    let appended = drive_in_parts(sweeper, append).await;
    mark.made(sweeper.now(), hold);
    if let Err(error) = shared.end_mark(&mut mark, &appended) {
        // Nothing will be written: give back what could be marked.
        sweeper.release(&mark.given_back(&appended)).await;
        return Err(error);
    }
    // The hold runs from the first mark on, so marking takes a part of it: too much, if the store is slow, or the logs are many.
    if !mark.logs.is_empty() && !mark.has_left(enough, sweeper.now()) {
        // Versions in columns were made before, and pages count on a COMMIT within the longest hold after them.
        let longest = hold.max(shared.rules.longest_hold);
        let until = mark.deadline().minus(hold).plus(longest);
        mark_again(sweeper, &mut mark, longest).await;
        let late = !mark.has_left(enough, sweeper.now()) || sweeper.now().plus(enough) > until;
        if late && let Err(error) = shared.marked_late(&mark) {
            sweeper.release(&mark).await;
            return Err(error);
        }
    }
    // COMMIT is next.
    fail_point!("before-commit");
    Ok(mark)
}

/// Runs a future of the blocking face, which is ready at its first poll. One that is not would never be: it is polled again
/// and again, as there is nothing to wait for.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// What ORMs' adapters keep, by their types.
#[derive(Debug, Default)]
pub(crate) struct Adapters(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Adapters {
    fn get<T: Any + Send + Sync>(&self, init: impl FnOnce() -> T) -> Arc<T> {
        let mut adapters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = adapters.get(&TypeId::of::<T>()).and_then(|known| known.clone().downcast().ok()) {
            return known;
        }
        let made = Arc::new(init());
        adapters.insert(TypeId::of::<T>(), made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking;

    #[derive(Debug)]
    struct Sea(u8);
    #[derive(Debug)]
    struct Die(u8);

    fn keeps_types_apart(sweeper: &impl Face) {
        let sea = sweeper.adapter(|| Sea(1));
        let die = sweeper.adapter(|| Die(2));
        assert_eq!((sea.0, die.0), (1, 2));
        assert!(Arc::ptr_eq(&sea, &sweeper.adapter(|| -> Sea { unreachable!("it is there already") })));
        assert!(Arc::ptr_eq(&die, &sweeper.adapter(|| -> Die { unreachable!("it is there already") })));
    }

    #[test]
    fn adapters_are_kept_apart_by_their_types_and_sweepers() {
        let build = || blocking::Sweeper::builder().memory(1 << 20).graph(Graph::default()).build().expect("the settings are sound");
        let (sweeper, other) = (build(), build());
        keeps_types_apart(&sweeper);
        assert_eq!(other.adapter(|| Sea(3)).0, 3);
        assert!(sweeper.is_same(&sweeper.clone()) && !sweeper.is_same(&other));
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn the_two_faces_of_a_sweeper_share_what_adapters_keep() {
        let builder = crate::Sweeper::builder().memory(1 << 20).graph(Graph::default());
        let sweeper = builder.build().expect("the settings are sound");
        keeps_types_apart(&sweeper);
        let blocking = sweeper.blocking().expect("the memory store serves both faces");
        assert_eq!(blocking.adapter(|| Sea(3)).0, 1);
        assert!(sweeper.is_same(&blocking));
    }
}
