//! A store that lets a test do something between the mark and the COMMIT.

use std::sync::{Arc, Mutex};

use cachesweeper_core::SystemClock;
use cachesweeper_core::store::memory::MemoryStore;
use cachesweeper_core::store::{Action, Op, Reply, Store, StoreInfo};

/// The memory store, which does something once, when the next mark has been written.
pub(crate) struct Interrupting {
    store: MemoryStore,
    next: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Interrupting {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { store: MemoryStore::new(16 << 20, Arc::new(SystemClock)), next: Mutex::default() })
    }

    /// What to do between the next mark and its COMMIT.
    pub(crate) fn at_the_next_mark(&self, then: impl FnOnce() + Send + 'static) {
        *self.next.lock().expect("no panic") = Some(Box::new(then));
    }
}

impl std::fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupting").finish_non_exhaustive()
    }
}

impl Store for Interrupting {
    fn info(&self) -> &StoreInfo {
        self.store.info()
    }

    fn run(&self, batch: &[Op]) -> Vec<Reply> {
        let marks = batch.iter().any(|op| matches!(op.action, Action::Append(..)));
        let replies = self.store.run(batch);
        let next = if marks { self.next.lock().expect("no panic").take() } else { None };
        if let Some(next) = next {
            next();
        }
        replies
    }
}
