//! The async face.

mod driver;
mod page;
mod serving;

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::blocking::records;
use crate::face::Face;
use crate::fragment::{FragmentOf, FragmentsOf};
use crate::page::{PageOf, PageState};
use crate::shared::{Installed, Shared};
use crate::store::{AsyncStore, BoxFuture, Store};
use crate::{Builder, CacheSweep, Dependencies, Error, RecordKey, Stats, blocking};

/// One fragment, before it is looked up.
pub type Fragment<'a> = FragmentOf<'a, Sweeper>;
/// Many fragments, before they are looked up.
pub type Fragments<'a, 'r, T> = FragmentsOf<'a, 'r, Sweeper, T>;
/// The read scope of one request.
pub type Page = PageOf<Sweeper>;

static INSTALLED: Installed<Sweeper> = Installed::new();

/// Finds the ancestors of records in the database; an ORM's connection brings one.
pub trait Resolver: Send + Sync + std::fmt::Debug {
    /// Touches the timestamp columns of these records' ancestors, and names all records of the sweep: these and their
    /// ancestors.
    fn sweep(&self, records: Vec<RecordKey>) -> BoxFuture<'_, Result<Vec<RecordKey>, Error>>;
}

/// Looks fragments up, renders and stores them, and invalidates them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sweeper {
    inner: Arc<Inner>,
}

/// A handle that does not keep the sweeper alive.
#[derive(Clone, Debug)]
pub struct WeakSweeper(Weak<Inner>);

impl WeakSweeper {
    /// The sweeper, while any other handle of it is left.
    pub fn upgrade(&self) -> Option<Sweeper> {
        self.0.upgrade().map(|inner| Sweeper { inner })
    }
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    store: Arc<dyn AsyncStore>,
    blocking: Option<blocking::Sweeper>,
    resolver: RwLock<Option<Arc<dyn Resolver>>>,
}

impl Sweeper {
    /// Starts a sweeper: choose a store, then [`build`](Builder::build).
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, store: Arc<dyn AsyncStore>, blocking: Option<Arc<dyn Store>>) -> Self {
        let blocking = blocking.map(|store| blocking::Sweeper::from_parts(shared.clone(), store));
        Self { inner: Arc::new(Inner { shared, store, blocking, resolver: RwLock::default() }) }
    }

    /// Makes this the sweeper that hooks use on connections which know none.
    pub fn install(&self) {
        INSTALLED.set(self.clone());
    }

    /// The installed sweeper.
    pub fn installed() -> Option<Self> {
        INSTALLED.get()
    }

    /// The same sweeper for blocking code, such as a template that renders inside `spawn_blocking`. `None` on a store of
    /// your own.
    pub fn blocking(&self) -> Option<blocking::Sweeper> {
        self.inner.blocking.clone()
    }

    /// What has happened since the sweeper was built.
    pub fn stats(&self) -> Stats {
        self.shared().counters.snapshot()
    }

    /// The settings.
    pub fn config(&self) -> &crate::Config {
        &self.inner.shared.config
    }

    /// A handle that does not keep it alive.
    pub fn downgrade(&self) -> WeakSweeper {
        WeakSweeper(Arc::downgrade(&self.inner))
    }

    /// Whether two handles are of the same sweeper.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// One fragment: `name`, of everything it shows.
    ///
    /// The first dependency is the fragment's home: put the record first that it is a fragment *of*.
    pub fn fragment<D: Dependencies>(&self, on: D, name: &str) -> Fragment<'_> {
        Fragment::new(self, on, name)
    }

    /// One fragment per row, all looked up in one round trip per store node.
    pub fn fragments<'r, T: CacheSweep>(&self, rows: &'r [T], name: &str) -> Fragments<'_, 'r, T> {
        Fragments::new(self, rows, name)
    }

    /// How ancestors are found, for [`invalidate`](Self::invalidate); the latest connection's way counts. For ORMs' adapters.
    pub fn set_resolver(&self, resolver: Arc<dyn Resolver>) {
        *self.inner.resolver.write().unwrap_or_else(PoisonError::into_inner) = Some(resolver);
    }

    /// Opens the read scope of one request. Open it before the request loads anything.
    pub fn page(&self) -> Page {
        PageOf { sweeper: self.clone(), page: PageState::open(self.shared()) }
    }

    /// Invalidates these records by hand, parents included. For data that are changed outside the ORM.
    ///
    /// # Errors
    ///
    /// [`Error::NoDatabase`] or [`Error::Database`] if their ancestors cannot be found; the records themselves are
    /// invalidated all the same. A store that does not answer is no error: the invalidation is retried until delivered.
    pub async fn invalidate<D: Dependencies>(&self, on: D) -> Result<(), Error> {
        let records = records(on);
        let resolver = self.inner.resolver.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(climbing) = records.iter().find(|record| self.shared().needs_database(record)).cloned() else {
            self.invalidate_records(&records).await;
            return Ok(());
        };
        if self.shared().changes.here() {
            return Err(Error::InTransaction { record: climbing.to_string() });
        }
        let swept = match resolver {
            Some(resolver) => resolver.sweep(records.clone()).await,
            None => Err(Error::NoDatabase { record: climbing.to_string() }),
        };
        match swept {
            Ok(swept) => {
                self.invalidate_records(&swept).await;
                Ok(())
            }
            Err(error) => {
                self.invalidate_records(&records).await;
                Err(error)
            }
        }
    }
}
