//! What a render inherits from the code around it: the fragment it is inside of, and whether its task has changes pending.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::RecordKey;

/// A render under way. Fragments inside it tell it when they could not be stored.
#[derive(Debug)]
pub(crate) struct Render {
    /// What the fragment depends on; empty in release builds.
    pub(crate) on: Vec<RecordKey>,
    unstorable: AtomicBool,
    verifying: AtomicBool,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Render>>> = const { RefCell::new(None) };
}

impl Render {
    pub(crate) fn new(on: Vec<RecordKey>) -> Arc<Self> {
        Arc::new(Self { on, unstorable: AtomicBool::new(false), verifying: AtomicBool::new(false) })
    }

    /// The innermost render of this task or thread.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Something inside is not cacheable now, so the whole is not.
    pub(crate) fn taint(&self) {
        self.unstorable.store(true, Ordering::Relaxed);
    }

    /// It is to be compared with what the store had, so nothing inside it may come from there.
    pub(crate) fn verify(&self) {
        self.verifying.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_verifying(&self) -> bool {
        self.verifying.load(Ordering::Relaxed)
    }

    pub(crate) fn is_storable(&self) -> bool {
        !self.unstorable.load(Ordering::Relaxed)
    }

    /// Runs blocking code as this render.
    pub(crate) fn enter<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(self.clone());
        f()
    }

    /// Runs a future as this render.
    #[cfg(feature = "tokio")]
    pub(crate) fn wrap<F: std::future::Future>(self: &Arc<Self>, future: F) -> Within<F> {
        Within { future, render: self.clone() }
    }
}

/// Restores the render around this one, also when a panic passes.
struct Entered(Option<Arc<Render>>);

impl Entered {
    fn new(render: Arc<Render>) -> Self {
        Self(CURRENT.replace(Some(render)))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(feature = "tokio")]
mod within {
    //! A future that runs as a render.

    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use pin_project_lite::pin_project;

    use super::{Entered, Render};

    pin_project! {
        /// A future that runs as a render: it is the current one whenever the future is polled.
        pub(crate) struct Within<F> {
            #[pin]
            pub(in crate::ambient) future: F,
            pub(in crate::ambient) render: Arc<Render>,
        }
    }

    impl<F: Future> Future for Within<F> {
        type Output = F::Output;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            let this = self.project();
            let _entered = Entered::new(this.render.clone());
            this.future.poll(cx)
        }
    }
}

#[cfg(feature = "tokio")]
pub(crate) use within::Within;

/// A task, or a thread for blocking code (and for a runtime's main future, which is no task).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    #[cfg(feature = "tokio")]
    Task(tokio::task::Id),
    Thread(ThreadId),
}

impl Place {
    pub(crate) fn current() -> Self {
        #[cfg(feature = "tokio")]
        if let Some(id) = tokio::task::try_id() {
            return Self::Task(id);
        }
        Self::Thread(std::thread::current().id())
    }
}

/// Where transactions with changes are open: lookups there bypass, since they might show what is not committed yet.
#[derive(Debug, Default)]
pub struct Changes {
    open: AtomicUsize,
    places: Mutex<HashMap<Place, usize>>,
}

impl Changes {
    fn places(&self) -> MutexGuard<'_, HashMap<Place, usize>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In how many tasks and threads.
    pub(crate) fn len(&self) -> usize {
        self.places().len()
    }

    /// The transaction has changed something here.
    pub(crate) fn begin(self: &Arc<Self>) -> ChangesPending {
        let place = Place::current();
        *self.places().entry(place).or_default() += 1;
        self.open.fetch_add(1, Ordering::SeqCst);
        ChangesPending { changes: self.clone(), place }
    }

    /// Whether a transaction with changes is open in this task or thread.
    pub(crate) fn here(&self) -> bool {
        self.open.load(Ordering::SeqCst) > 0 && self.at(Place::current())
    }

    /// Whether one is open in that task or thread.
    pub(crate) fn at(&self, place: Place) -> bool {
        self.open.load(Ordering::SeqCst) > 0 && self.places().contains_key(&place)
    }
}

impl ChangesPending {
    /// Whether it was made in this task or thread.
    pub fn is_here(&self) -> bool {
        self.place == Place::current()
    }
}

/// Held by a transaction from its first change to its end; the task's lookups bypass meanwhile.
#[derive(Debug)]
pub struct ChangesPending {
    changes: Arc<Changes>,
    place: Place,
}

impl Drop for ChangesPending {
    fn drop(&mut self) {
        let mut places = self.changes.places();
        if let Some(count) = places.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.place);
            }
        }
        self.changes.open.fetch_sub(1, Ordering::SeqCst);
    }
}
