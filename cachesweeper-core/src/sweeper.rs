//! The async face.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use bytes::Bytes;
use tokio::time::Instant;

use crate::blocking::{land, only, records, share};
use crate::flight::{Gathered, Joined, Landed, Lead, Running};
use crate::fragment::{FragmentOf, FragmentsOf, Serving, bodies, of_rows};
use crate::page::{PageOf, PageState, Prefetch, TagError, TagSettings, Tags, with_page};
use crate::protocol::{Flight, Input, Machine, Mode, Reason, Serve, ServeInput, ServeStep, Served, Step, Unstored};
use crate::shared::{Installed, Mark, Shared, merge};
use crate::stats::Counters;
use crate::store::{AsyncStore, BoxFuture, Op, Reply, Store};
use crate::{Builder, CacheSweep, ChangesPending, Dependencies, Dependency, Error, RecordKey, Rendered, Stats, blocking};

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
    /// Extra places to keep what an ORM's adapter needs per sweeper.
    adapter: OnceLock<Arc<dyn std::any::Any + Send + Sync>>,
}

impl Sweeper {
    /// Starts a sweeper: choose a store, then [`build`](Builder::build).
    pub fn builder() -> Builder<Self> {
        Builder::new()
    }

    pub(crate) fn from_parts(shared: Arc<Shared>, store: Arc<dyn AsyncStore>, blocking: Option<Arc<dyn Store>>) -> Self {
        let blocking = blocking.map(|store| blocking::Sweeper::from_parts(shared.clone(), store));
        Self { inner: Arc::new(Inner { shared, store, blocking, resolver: RwLock::default(), adapter: OnceLock::new() }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
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
        &self.shared().config
    }

    /// The registered entities and their relations.
    pub fn graph(&self) -> &crate::registry::Graph {
        &self.shared().graph
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

    // ---- for adapters ---------------------------------------------------------------------------------------------

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
        self.shared().owe(appended.failed.iter().map(|(log, _)| logs[*log].clone()).collect());
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
        self.shared().owe(std::mem::take(&mut mark.failed));
        self.deliver_later();
        Ok(mark)
    }

    /// Delivers what could not be marked as soon as its node answers, should nobody be left to release it.
    pub fn owe_failed(&self, mark: &Mark) {
        if !mark.failed.is_empty() {
            self.shared().owe(mark.failed.clone());
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

    // ---- the driver -----------------------------------------------------------------------------------------------

    async fn run(&self, ops: Vec<Op>) -> Vec<Reply> {
        let admitted = self.shared().admit(&ops);
        let mut replies = match admitted {
            None => self.inner.store.run(ops.clone()).await,
            Some(admitted) => {
                let sent: Vec<Op> = ops.iter().zip(&admitted).filter(|(_, reply)| reply.is_none()).map(|(op, _)| op.clone()).collect();
                let answered = if sent.is_empty() { Vec::new() } else { self.inner.store.run(sent).await };
                merge(admitted, answered)
            }
        };
        self.shared().observe(&ops, &mut replies);
        replies
    }

    async fn drive<M: Machine>(&self, mut machine: M) -> M::Output {
        let mut input = Input::Start;
        loop {
            input = match machine.advance(input, self.shared().clock.tick()) {
                Step::Run(ops) => Input::Replies(self.run(ops).await),
                Step::Sleep(length) => {
                    tokio::time::sleep(length).await;
                    Input::Slept
                }
                Step::Done(output) => return output,
            };
        }
    }

    /// Delivers what is owed to the store, in a task of its own that ends when nothing is owed any more.
    fn deliver_later(&self) {
        if self.shared().owes() && self.shared().start_delivering() {
            tokio::spawn(deliver(Arc::downgrade(&self.inner)));
        }
    }
}

async fn deliver(inner: Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        let sweeper = Sweeper { inner };
        if let Some((owed, append)) = sweeper.shared().begin_delivery() {
            let appended = sweeper.drive(append).await;
            sweeper.shared().end_delivery(&owed, &appended);
        }
        if !sweeper.shared().owes() {
            sweeper.shared().stop_delivering();
            if !sweeper.shared().owes() || !sweeper.shared().start_delivering() {
                return;
            }
        }
        let interval = sweeper.config().retry_interval;
        drop(sweeper);
        tokio::time::sleep(interval).await;
    }
}

/// A [`Serve`] on its way, with the flights it leads. Dropping it (a client that went away) ends them, so that others go on.
struct Session<'a> {
    sweeper: &'a Sweeper,
    serve: Serve,
    lead: Option<Lead>,
}

/// Where a session pauses.
enum Pause {
    Render(Vec<usize>),
    Done(Vec<Served>),
}

impl<'a> Session<'a> {
    fn new(sweeper: &'a Sweeper, serve: Serve) -> Self {
        Self { sweeper, serve, lead: None }
    }

    async fn run(&mut self, mut input: ServeInput) -> Pause {
        loop {
            input = match self.serve.advance(input, self.sweeper.shared().clock.tick()) {
                ServeStep::Run(ops) => ServeInput::Replies(self.sweeper.run(ops).await),
                ServeStep::Sleep(length) => {
                    tokio::time::sleep(length).await;
                    ServeInput::Slept
                }
                ServeStep::Join(flights) => ServeInput::Joined(self.join(flights).await),
                ServeStep::Gather(flight) => ServeInput::Gathered(self.gather(&flight).await),
                ServeStep::Render(positions) => return Pause::Render(positions),
                ServeStep::Done(served) => {
                    land(&mut self.lead, &served);
                    return Pause::Done(served);
                }
            };
        }
    }

    async fn rendered(&mut self, asked: &[usize], bodies: Vec<Bytes>, storable: bool) -> Vec<Served> {
        share(&mut self.lead, asked, &bodies, storable);
        match self.run(ServeInput::Rendered(bodies, storable)).await {
            Pause::Done(served) => served,
            Pause::Render(_) => Vec::new(),
        }
    }

    async fn abandon(&mut self) {
        let ops = self.serve.abandon();
        if !ops.is_empty() {
            self.sweeper.run(ops).await;
        }
    }

    async fn wait(&self, running: &Running, until: Instant) -> Option<Landed> {
        loop {
            match running.result() {
                Ok(landed) => return Some(landed),
                Err(listener) => tokio::time::timeout_at(until, listener).await.ok()?,
            }
        }
    }

    async fn join(&mut self, mut flights: Vec<Flight>) -> Vec<(usize, Bytes)> {
        let until = Instant::now() + self.sweeper.config().flight_wait;
        let mut shared = Vec::new();
        while !flights.is_empty() {
            let others = match self.sweeper.shared().flights.join(&flights) {
                Joined::Leading(lead) => {
                    self.lead = Some(lead);
                    break;
                }
                Joined::Following(others) => others,
            };
            for (position, running) in others {
                let impatient = flights.iter().any(|flight| flight.position == position && flight.impatient);
                let landed = if impatient { None } else { self.wait(&running, until).await };
                match landed {
                    Some(Landed::Abandoned) => continue,
                    Some(Landed::Shared(body)) => shared.push((position, body)),
                    None if impatient => self.serve.serve_impatient(position),
                    Some(Landed::Private) | None => {}
                }
                flights.retain(|flight| flight.position != position);
            }
        }
        shared
    }

    async fn gather(&mut self, flight: &Flight) -> Option<Bytes> {
        let until = Instant::now() + self.sweeper.config().flight_wait;
        loop {
            let follow = match self.sweeper.shared().flights.gather(flight) {
                Gathered::Render(lead) => {
                    self.lead = Some(lead);
                    return None;
                }
                Gathered::After(running, lead) => {
                    self.wait(&running, until).await;
                    lead.begin();
                    self.lead = Some(lead);
                    return None;
                }
                Gathered::Follow(next) => next,
            };
            match self.wait(&follow, until).await {
                Some(Landed::Shared(body)) => return Some(body),
                Some(Landed::Abandoned) => {}
                Some(Landed::Private) | None => return None,
            }
        }
    }
}

impl Fragment<'_> {
    /// Serves the fragment from the store, or renders and stores it.
    ///
    /// `render` loads what it shows and renders it; it runs only if there is no valid version. Store problems never reach
    /// the caller: the fragment is then rendered and not stored, which [`Rendered::outcome`] and the statistics tell.
    ///
    /// # Errors
    ///
    /// Those of `render`, unchanged; nothing is stored then.
    pub async fn get_or_render<F, B, E>(self, render: F) -> Result<Rendered, E>
    where
        F: AsyncFnOnce() -> Result<B, E>,
        B: Into<String>,
    {
        let shared = self.sweeper.shared();
        let (serving, serve) = Serving::begin(shared, &self.settings, vec![self.on], Mode::Closure);
        let inside = serving.render.clone();
        let Some(serve) = serve else {
            let body = inside.wrap(render()).await?.into();
            let served = Served::Unstored(Bytes::from(body), Unstored::Bypass(Reason::InTransaction));
            return Ok(only(serving.end(shared, vec![served])));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start).await {
            Pause::Done(served) => served,
            Pause::Render(asked) => match inside.wrap(render()).await {
                Ok(body) => session.rendered(&asked, vec![Bytes::from(body.into())], serving.render.is_storable()).await,
                Err(error) => {
                    session.abandon().await;
                    return Err(error);
                }
            },
        };
        Ok(only(serving.end(shared, served)))
    }
}

impl<T: CacheSweep> Fragments<'_, '_, T> {
    /// Serves all fragments, in the rows' order. `render` is called once, with the rows that have no valid version, and
    /// returns their pieces in that order.
    ///
    /// # Errors
    ///
    /// Those of `render`, unchanged; nothing is stored then.
    ///
    /// # Panics
    ///
    /// If `render` returns more or fewer pieces than it was given rows.
    pub async fn get_or_render<F, E>(self, render: F) -> Result<Vec<Rendered>, E>
    where
        F: AsyncFnOnce(&[&T]) -> Result<Vec<String>, E>,
    {
        let shared = self.sweeper.shared();
        let (serving, serve) = Serving::begin(shared, &self.settings, of_rows(self.rows), Mode::Closure);
        let (inside, name) = (serving.render.clone(), &self.settings.name);
        let Some(serve) = serve else {
            let all: Vec<&T> = self.rows.iter().collect();
            let pieces = inside.wrap(render(&all)).await?;
            let bypass = |body| Served::Unstored(body, Unstored::Bypass(Reason::InTransaction));
            let served = bodies(name, serving.count(), pieces).into_iter().map(bypass).collect();
            return Ok(serving.end(shared, served));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start).await {
            Pause::Done(served) => served,
            Pause::Render(asked) => {
                let missing: Vec<&T> = asked.iter().map(|&position| &self.rows[position]).collect();
                match inside.wrap(render(&missing)).await {
                    Ok(pieces) => {
                        let bodies = bodies(name, missing.len(), pieces);
                        session.rendered(&asked, bodies, serving.render.is_storable()).await
                    }
                    Err(error) => {
                        session.abandon().await;
                        return Err(error);
                    }
                }
            }
        };
        Ok(serving.end(shared, served))
    }
}

impl Page {
    /// Looks up one fragment per row, in one round trip per store node.
    ///
    /// # Errors
    ///
    /// None today: a store that does not answer makes the tags bypass.
    pub async fn prefetch<T: CacheSweep>(&self, rows: &[T], name: &str) -> Result<(), Error> {
        self.prefetch_many(|prefetch| {
            prefetch.rows(rows, name);
        })
        .await
    }

    /// Looks up all that `plan` names, in one round trip per store node.
    ///
    /// # Errors
    ///
    /// None today: a store that does not answer makes the tags bypass.
    pub async fn prefetch_many(&self, plan: impl FnOnce(&mut Prefetch)) -> Result<(), Error> {
        let mut prefetch = Prefetch::default();
        plan(&mut prefetch);
        let (lookup, keys) = self.page.begin_prefetch(&prefetch);
        let lookups = self.sweeper.drive(lookup).await;
        self.page.end_prefetch(keys, lookups);
        Ok(())
    }

    /// The same page for a template that renders inside `spawn_blocking`: tags that were not prefetched wait for the store.
    /// `None` on a store of your own.
    pub fn blocking(&self) -> Option<blocking::Page> {
        Some(PageOf { sweeper: self.sweeper.blocking()?, page: self.page.clone() })
    }

    /// Runs `render` with this page open: tags of templates find it.
    pub fn render<T>(&self, render: impl FnOnce() -> T) -> T {
        with_page(Arc::new(self.clone()), render)
    }

    /// Stores what the page's tags have rendered, in one batch.
    pub async fn finish(self) {
        let ops = self.page.take_fills();
        if !ops.is_empty() {
            let replies = self.sweeper.run(ops.clone()).await;
            self.page.filled(&ops, &replies);
        }
    }
}

impl Tags for Page {
    fn tag(
        &self,
        on: Vec<Dependency>,
        settings: TagSettings,
        body: &mut dyn FnMut() -> Result<String, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Rendered, TagError> {
        // The embedded store answers at once, so a tag need not be prefetched.
        let embedded = self.sweeper.blocking().filter(|_| !self.sweeper.shared().info.shared);
        match embedded {
            Some(sweeper) => self.page.tag(on, settings, body, Some(&|lookup| sweeper.drive(lookup))),
            None => self.page.tag(on, settings, body, None),
        }
    }
}
