//! Renews holds while a blocking COMMIT runs, and those of commits with an unknown outcome.
//!
//! One thread per sweeper, started with the first hold and ended when there has been none for a while. It looks twice in
//! each half hold, so that nobody has to wake it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Sweeper;
use crate::face::{Face, now};
use crate::shared::{Mark, Shared};
use crate::store::Store;

/// The holds under renewal.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    entries: Mutex<Vec<Arc<Entry>>>,
    running: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    mark: Mutex<Mark>,
    due: Mutex<Instant>,
    /// A hold of a commit with an unknown outcome, which is released by nobody else: until when, and what keeps the sweeper alive.
    until: Option<(Instant, Arc<Shared>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Renewals {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).len()
    }
}

/// Takes its hold off the list, also when a panic passes.
struct Ticket<'a> {
    renewals: &'a Renewals,
    entry: Arc<Entry>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.renewals.entries).retain(|entry| !Arc::ptr_eq(entry, &self.entry));
    }
}

impl Sweeper {
    pub(super) fn renew_while<T>(&self, mark: &mut Mark, commit: impl FnOnce() -> T) -> T {
        let ticket = Ticket { renewals: &self.shared.renewals, entry: self.enlist(mark.clone(), None) };
        let result = commit();
        let entry = ticket.entry.clone();
        drop(ticket);
        // A renewal that is on its way ends first: the release must name it.
        mark.clone_from(&lock(&entry.mark));
        result
    }

    pub(super) fn renew_on(&self, mark: Mark) {
        let until = Instant::now() + self.shared.config.unknown_commit_limit;
        self.enlist(mark, Some((until, self.shared.clone())));
    }

    fn renew_in(&self, mark: &Mark) -> Duration {
        mark.renew_in(self.shared.config.hold.into(), self.shared.clock.now()).into()
    }

    fn enlist(&self, mark: Mark, until: Option<(Instant, Arc<Shared>)>) -> Arc<Entry> {
        let due = Instant::now() + if until.is_some() { Duration::ZERO } else { self.renew_in(&mark) };
        let entry = Arc::new(Entry { mark: Mutex::new(mark), due: Mutex::new(due), until });
        lock(&self.shared.renewals.entries).push(entry.clone());
        if !self.shared.renewals.running.swap(true, Ordering::SeqCst) {
            let (weak, store) = (Arc::downgrade(&self.shared), self.store.clone());
            let spawned = std::thread::Builder::new().name("cachesweeper-renewal".into()).spawn(move || attend(&weak, &store));
            if let Err(error) = spawned {
                self.shared.renewals.running.store(false, Ordering::SeqCst);
                tracing::error!(%error, "no thread could be started to renew holds: a COMMIT must return within the hold");
            }
        }
        entry
    }
}

/// Lets the next hold start another thread if this one panics, in a store of somebody's own.
struct Running<'a>(&'a Weak<Shared>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade().filter(|_| std::thread::panicking()) {
            shared.renewals.running.store(false, Ordering::SeqCst);
        }
    }
}

fn attend(shared: &Weak<Shared>, store: &Arc<dyn Store>) {
    let _running = Running(shared);
    let mut idle = 0;
    while let Some(shared) = shared.upgrade() {
        let pause = shared.config.hold / 4;
        let sweeper = Sweeper { shared, store: store.clone() };
        let entries = lock(&sweeper.shared.renewals.entries).clone();
        for entry in &entries {
            sweeper.attend_to(entry);
        }
        idle = if entries.is_empty() { idle + 1 } else { 0 };
        if idle > 40 {
            let renewals = &sweeper.shared.renewals;
            renewals.running.store(false, Ordering::SeqCst);
            // A hold that was enlisted just now may have counted on this thread.
            if lock(&renewals.entries).is_empty() || renewals.running.swap(true, Ordering::SeqCst) {
                return;
            }
            idle = 0;
        }
        drop(sweeper);
        std::thread::sleep(pause);
    }
}

impl Sweeper {
    fn attend_to(&self, entry: &Arc<Entry>) {
        if entry.until.as_ref().is_some_and(|(until, _)| Instant::now() >= *until) {
            lock(&self.shared.renewals.entries).retain(|other| !Arc::ptr_eq(other, entry));
            now(Face::release(self, &lock(&entry.mark)));
        } else if Instant::now() >= *lock(&entry.due) {
            // Under the lock, so that who takes the hold back waits for a renewal on its way.
            let mut mark = lock(&entry.mark);
            // Unless it was taken back meanwhile.
            if lock(&self.shared.renewals.entries).iter().any(|other| Arc::ptr_eq(other, entry)) {
                now(self.renew(&mut mark));
                *lock(&entry.due) = Instant::now() + self.renew_in(&mark);
            }
        }
    }
}
