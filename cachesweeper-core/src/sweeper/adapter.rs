//! What ORMs' adapters need of a sweeper: marks, releases, counts and reports.

use std::sync::{Arc, PoisonError};

use super::{Resolver, Sweeper};
use crate::shared::Mark;
use crate::stats::Counters;
use crate::{ChangesPending, Error, RecordKey};

impl Sweeper {
    /// How ancestors are found, for [`invalidate`](Self::invalidate); the latest connection's way counts.
    pub fn set_resolver(&self, resolver: Arc<dyn Resolver>) {
        *self.inner.resolver.write().unwrap_or_else(PoisonError::into_inner) = Some(resolver);
    }

    /// A place for what an ORM's adapter keeps per sweeper.
    pub fn adapter<T: std::any::Any + Send + Sync>(&self, init: impl FnOnce() -> T) -> Option<Arc<T>> {
        self.inner.adapter.get_or_init(|| Arc::new(init())).clone().downcast().ok()
    }

    /// Counts a sweep.
    pub fn count_sweep(&self) {
        Counters::bump(&self.shared().counters.sweeps);
    }

    /// Counts a write in a transaction whose end cannot be seen; `true` the first time.
    pub fn count_plain_write(&self) -> bool {
        Counters::bump(&self.shared().counters.plain_writes);
        self.shared().first_time("plain write")
    }

    /// Counts a commit whose outcome is unknown.
    pub fn count_unknown_commit(&self) {
        Counters::bump(&self.shared().counters.commits_unknown);
    }

    /// Counts a record whose ancestors are deeper than their bound, and says so once per entity.
    pub fn report_depth(&self, record: &RecordKey, bound: u32) {
        Counters::bump(&self.shared().counters.depth_exceeded);
        if self.shared().first_time(&format!("depth: {}", record.entity())) {
            tracing::warn!(%record, bound, "its ancestors are deeper than the bound; the whole entity is invalidated. Raise #[sweep(max_depth = …)] if such trees are common");
        }
    }

    /// Reports that a committed write's ancestors could not be found.
    pub fn report_incomplete(&self, error: &Error) {
        self.shared().sweep_incomplete(error);
    }

    /// Whether `what` is reported for the first time.
    pub fn first_time(&self, what: &str) -> bool {
        self.shared().first_time(what)
    }

    /// Tells that this task has changes pending until the guard is dropped: its lookups bypass.
    pub fn changes_pending(&self) -> ChangesPending {
        self.shared().changes.begin()
    }

    /// The sweeper's clock.
    pub fn now(&self) -> crate::Micros {
        self.shared().clock.now()
    }

    /// Invalidates exactly these records, now.
    pub async fn invalidate_records(&self, records: &[RecordKey]) {
        let logs = self.shared().logs(records);
        if logs.is_empty() {
            return;
        }
        Counters::add(&self.shared().counters.records_swept, logs.len());
        let appended = self.drive(self.shared().begin_invalidate(logs.clone())).await;
        self.shared().owe(appended.failed.iter().map(|(log, _)| logs[*log].clone()).collect(), crate::Micros(0));
        self.deliver_later();
    }

    /// Opens a hold on these records: readers neither serve nor store fragments of them until it is released.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] under [`Policy::Abort`](crate::Policy::Abort), if a store node does not answer.
    pub async fn mark(&self, records: &[RecordKey]) -> Result<Mark, Error> {
        self.mark_for(records, self.shared().rules.hold).await
    }

    /// As [`mark`](Self::mark), for a transaction whose end cannot be seen.
    ///
    /// # Errors
    ///
    /// As [`mark`](Self::mark).
    pub async fn mark_plain(&self, records: &[RecordKey]) -> Result<Mark, Error> {
        let mut mark = self.mark_for(records, self.config().plain_hold.into()).await?;
        // Its end will not be seen, so what could not be marked is delivered as soon as possible.
        self.shared().owe(std::mem::take(&mut mark.failed), mark.deadline);
        self.deliver_later();
        Ok(mark)
    }

    /// Delivers what could not be marked as soon as its node answers, should nobody be left to release it.
    pub fn owe_failed(&self, mark: &Mark) {
        if !mark.failed.is_empty() {
            self.shared().owe(mark.failed.clone(), mark.deadline);
            self.deliver_later();
        }
    }

    async fn mark_for(&self, records: &[RecordKey], hold: crate::Micros) -> Result<Mark, Error> {
        let logs = self.shared().logs(records);
        if logs.is_empty() {
            return Ok(self.shared().begin_mark(logs, hold).0);
        }
        Counters::add(&self.shared().counters.records_swept, logs.len());
        let (mark, append) = self.shared().begin_mark(logs, hold);
        let appended = self.drive(append).await;
        match self.shared().end_mark(mark.clone(), appended.clone()) {
            Ok(mark) => Ok(mark),
            Err(error) => {
                // Nothing will be written: give back what could be marked.
                let failed: Vec<usize> = appended.failed.iter().map(|(log, _)| *log).collect();
                let mut marked = mark;
                let mut position = 0;
                marked.logs.retain(|_| {
                    position += 1;
                    !failed.contains(&(position - 1))
                });
                self.release(&marked).await;
                Err(error)
            }
        }
    }

    /// Opens the hold anew, because the COMMIT takes long.
    pub async fn renew(&self, mark: &mut Mark) {
        Counters::bump(&self.shared().counters.renewals);
        let (fresh, append) = self.shared().begin_mark(mark.logs.clone(), self.shared().rules.hold);
        let appended = self.drive(append).await;
        mark.uids.extend(fresh.uids);
        if appended.failed.is_empty() {
            mark.deadline = fresh.deadline;
        }
    }

    /// Ends a hold after the write has committed, or was rolled back.
    pub async fn release(&self, mark: &Mark) {
        if mark.is_empty() {
            return;
        }
        let (append, must_arrive) = self.shared().begin_release(mark);
        let appended = self.drive(append).await;
        self.shared().end_release(mark, &appended, must_arrive);
        self.deliver_later();
    }

    /// Ends a hold after the write has committed, and invalidates further records in the same batch.
    pub async fn release_and_invalidate(&self, mut mark: Mark, records: &[RecordKey]) {
        let mut more = self.shared().logs(records);
        more.retain(|log| !mark.logs.contains(log));
        if more.is_empty() {
            return self.release(&mark).await;
        }
        Counters::add(&self.shared().counters.records_swept, more.len());
        if mark.uids.is_empty() {
            mark.uids.push(self.shared().begin_mark(Vec::new(), self.shared().rules.hold).0.uids[0]);
        }
        // A release without its mark invalidates by itself; unlike a hold's, it must arrive.
        mark.logs.extend(more);
        mark.deadline = self.now();
        self.release(&mark).await;
    }
}
