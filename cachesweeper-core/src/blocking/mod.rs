//! The blocking face: for Diesel, for scripts, and for templates that render on a blocking thread.

mod driver;
mod page;
mod renewal;
mod serving;

use std::sync::Arc;

use crate::face::{Face, now};
use crate::fragment::{FragmentOf, FragmentsOf};
use crate::page::{PageOf, PageState};
use crate::shared::{Installed, Mark, Shared};
use crate::store::Store;
use crate::{Builder, CacheSweep, Dependencies, Error, RecordKey, Stats};

pub(crate) use renewal::Renewals;
#[cfg(feature = "tokio")]
pub(crate) use serving::{land, only, share};

/// One fragment, before it is looked up.
pub type Fragment<'a> = FragmentOf<'a, Sweeper>;
/// Many fragments, before they are looked up.
pub type Fragments<'a, 'r, T> = FragmentsOf<'a, 'r, Sweeper, T>;
/// The read scope of one request.
pub type Page = PageOf<Sweeper>;

static INSTALLED: Installed<Sweeper> = Installed::new();

/// Looks fragments up, renders and stores them, and invalidates them; for blocking code. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sweeper {
    pub(crate) shared: Arc<Shared>,
    store: Arc<dyn Store>,
}

impl Sweeper {
    /// Starts a sweeper: choose a store, then [`build`](Builder::build).
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, store: Arc<dyn Store>) -> Self {
        Self { shared, store }
    }

    /// Makes this the sweeper of connections that know none.
    pub fn install(&self) {
        INSTALLED.set(self.clone());
    }

    /// The installed sweeper.
    pub fn installed() -> Option<Self> {
        INSTALLED.get()
    }

    /// What has happened since the sweeper was built.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// The settings.
    pub fn config(&self) -> &crate::Config {
        &self.shared.config
    }

    /// One fragment: `name`, of everything it shows.
    pub fn fragment<D: Dependencies>(&self, on: D, name: &str) -> Fragment<'_> {
        Fragment::new(self, on, name)
    }

    /// One fragment per row, all looked up in one round trip per store node.
    pub fn fragments<'r, T: CacheSweep>(&self, rows: &'r [T], name: &str) -> Fragments<'_, 'r, T> {
        Fragments::new(self, rows, name)
    }

    /// Opens the read scope of one request. Open it before the request loads anything.
    pub fn page(&self) -> Page {
        PageOf { sweeper: self.clone(), page: PageState::open(&self.shared) }
    }

    /// Invalidates these records by hand. Their ancestors are the ORM's to find: its wrappers call this with all of them.
    ///
    /// # Errors
    ///
    /// [`Error::NoDatabase`] if a record has declared parents, or its version is a column of its row, which this sweeper
    /// can neither find nor touch; the records themselves
    /// are invalidated all the same. A store that does not answer is no error: the invalidation is retried until delivered.
    pub fn invalidate<D: Dependencies>(&self, on: D) -> Result<(), Error> {
        let records = records(on);
        self.invalidate_records(&records);
        match records.iter().find(|record| self.shared.needs_database(record)) {
            Some(record) => Err(Error::NoDatabase { record: record.to_string() }),
            None => Ok(()),
        }
    }

    /// Invalidates exactly these records, now.
    pub fn invalidate_records(&self, records: &[RecordKey]) {
        now(Face::invalidate_records(self, records));
    }

    /// Opens a hold on these records: readers neither serve nor store fragments of them until it is released.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] under [`Policy::Abort`](crate::Policy::Abort), if a store node does not answer.
    pub fn mark(&self, records: &[RecordKey]) -> Result<Mark, Error> {
        now(Face::mark(self, records))
    }

    /// Ends a hold after the write has committed, or was rolled back.
    pub fn release(&self, mark: &Mark) {
        now(Face::release(self, mark));
    }
}

pub(crate) fn records(on: impl Dependencies) -> Vec<RecordKey> {
    let mut dependencies = Vec::new();
    on.collect_into(&mut dependencies);
    dependencies.into_iter().map(|dependency| dependency.record).collect()
}
