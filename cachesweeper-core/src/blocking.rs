//! The blocking face: for Diesel, for scripts, and for templates that render on a blocking thread.

use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use crate::flight::{Gathered, Joined, Landed, Lead, Running};
use crate::fragment::{FragmentOf, FragmentsOf, Serving, bodies, of_rows};
use crate::page::{PageOf, PageState, Prefetch, TagError, TagSettings, Tags, with_page};
use crate::protocol::{Flight, Input, Machine, Mode, Reason, Serve, ServeInput, ServeStep, Served, Step, Unstored};
use crate::shared::{Installed, Mark, Shared, merge};
use crate::stats::Counters;
use crate::store::{Op, Reply, Store};
use crate::{Builder, CacheSweep, Dependencies, Dependency, Error, RecordKey, Rendered, Stats};

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
        let logs = self.shared.logs(records);
        if logs.is_empty() {
            return;
        }
        Counters::add(&self.shared.counters.records_swept, logs.len());
        let appended = self.drive(self.shared.begin_invalidate(logs.clone()));
        self.shared.owe(appended.failed.iter().map(|(log, _)| logs[*log].clone()).collect());
        self.deliver_later();
    }

    /// Opens a hold on these records: readers neither serve nor store fragments of them until it is released.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] under [`Policy::Abort`](crate::Policy::Abort), if a store node does not answer.
    pub fn mark(&self, records: &[RecordKey]) -> Result<Mark, Error> {
        let logs = self.shared.logs(records);
        Counters::add(&self.shared.counters.records_swept, logs.len());
        let (mark, append) = self.shared.begin_mark(logs, self.shared.rules.hold);
        let appended = self.drive(append);
        self.shared.end_mark(mark, appended)
    }

    /// Ends a hold after the write has committed, or was rolled back.
    pub fn release(&self, mark: &Mark) {
        if mark.is_empty() {
            return;
        }
        let (append, must_arrive) = self.shared.begin_release(mark);
        let appended = self.drive(append);
        self.shared.end_release(mark, &appended, must_arrive);
        self.deliver_later();
    }

    // ---- the driver -----------------------------------------------------------------------------------------------

    fn run(&self, ops: Vec<Op>) -> Vec<Reply> {
        let admitted = self.shared.admit(&ops);
        let mut replies = match admitted {
            None => self.store.run(ops.clone()),
            Some(admitted) => {
                let sent: Vec<Op> = ops.iter().zip(&admitted).filter(|(_, reply)| reply.is_none()).map(|(op, _)| op.clone()).collect();
                let answered = if sent.is_empty() { Vec::new() } else { self.store.run(sent) };
                merge(admitted, answered)
            }
        };
        self.shared.observe(&ops, &mut replies);
        replies
    }

    pub(crate) fn drive<M: Machine>(&self, mut machine: M) -> M::Output {
        let mut input = Input::Start;
        loop {
            input = match machine.advance(input, self.shared.clock.tick()) {
                Step::Run(ops) => Input::Replies(self.run(ops)),
                Step::Sleep(length) => {
                    std::thread::sleep(length);
                    Input::Slept
                }
                Step::Done(output) => return output,
            };
        }
    }

    /// Delivers what is owed to the store, on a thread of its own that ends when nothing is owed any more.
    fn deliver_later(&self) {
        if !self.shared.owes() || !self.shared.start_delivering() {
            return;
        }
        let (weak, store) = (Arc::downgrade(&self.shared), self.store.clone());
        let spawned = std::thread::Builder::new().name("cachesweeper-delivery".into()).spawn(move || deliver(&weak, &store));
        if let Err(error) = spawned {
            self.shared.stop_delivering();
            tracing::error!(%error, "no thread could be started to deliver invalidations; they are tried again with the next one");
        }
    }
}

fn deliver(shared: &Weak<Shared>, store: &Arc<dyn Store>) {
    while let Some(shared) = shared.upgrade() {
        let interval = shared.config.retry_interval;
        let sweeper = Sweeper { shared, store: store.clone() };
        if let Some((owed, append)) = sweeper.shared.begin_delivery() {
            let appended = sweeper.drive(append);
            sweeper.shared.end_delivery(&owed, &appended);
        }
        if !sweeper.shared.owes() {
            sweeper.shared.stop_delivering();
            if !sweeper.shared.owes() || !sweeper.shared.start_delivering() {
                return;
            }
        }
        drop(sweeper);
        std::thread::sleep(interval);
    }
}

pub(crate) fn records(on: impl Dependencies) -> Vec<RecordKey> {
    let mut dependencies = Vec::new();
    on.collect_into(&mut dependencies);
    dependencies.into_iter().map(|dependency| dependency.record).collect()
}

/// A [`Serve`] on its way, with the flights it leads.
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

    fn run(&mut self, mut input: ServeInput) -> Pause {
        loop {
            input = match self.serve.advance(input, self.sweeper.shared.clock.tick()) {
                ServeStep::Run(ops) => ServeInput::Replies(self.sweeper.run(ops)),
                ServeStep::Sleep(length) => {
                    std::thread::sleep(length);
                    ServeInput::Slept
                }
                ServeStep::Join(flights) => ServeInput::Joined(self.join(flights)),
                ServeStep::Gather(flight) => ServeInput::Gathered(self.gather(&flight)),
                ServeStep::Render(positions) => return Pause::Render(positions),
                ServeStep::Done(served) => {
                    land(&mut self.lead, &served);
                    return Pause::Done(served);
                }
            };
        }
    }

    fn rendered(&mut self, asked: &[usize], bodies: Vec<Bytes>, storable: bool) -> Vec<Served> {
        share(&mut self.lead, asked, &bodies, storable);
        match self.run(ServeInput::Rendered(bodies, storable)) {
            Pause::Done(served) => served,
            Pause::Render(_) => Vec::new(),
        }
    }

    fn abandon(&mut self) {
        let ops = self.serve.abandon();
        if !ops.is_empty() {
            self.sweeper.run(ops);
        }
    }

    fn wait(&self, running: &Running, until: Instant) -> Option<Landed> {
        loop {
            match running.result() {
                Ok(landed) => return Some(landed),
                Err(listener) => {
                    use event_listener::Listener;
                    listener.wait_deadline(until)?;
                }
            }
        }
    }

    fn join(&mut self, mut flights: Vec<Flight>) -> Vec<(usize, Bytes)> {
        let until = Instant::now() + self.sweeper.shared.config.flight_wait;
        let mut shared = Vec::new();
        while !flights.is_empty() {
            let others = match self.sweeper.shared.flights.join(&flights) {
                Joined::Leading(lead) => {
                    self.lead = Some(lead);
                    break;
                }
                Joined::Following(others) => others,
            };
            for (position, running) in others {
                let impatient = flights.iter().any(|flight| flight.position == position && flight.impatient);
                let landed = if impatient { None } else { self.wait(&running, until) };
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

    fn gather(&mut self, flight: &Flight) -> Option<Bytes> {
        let until = Instant::now() + self.sweeper.shared.config.flight_wait;
        loop {
            let follow = match self.sweeper.shared.flights.gather(flight) {
                Gathered::Render(lead) => {
                    self.lead = Some(lead);
                    return None;
                }
                Gathered::After(running, lead) => {
                    self.wait(&running, until);
                    lead.begin();
                    self.lead = Some(lead);
                    return None;
                }
                Gathered::Follow(next) => next,
            };
            match self.wait(&follow, until) {
                Some(Landed::Shared(body)) => return Some(body),
                Some(Landed::Abandoned) => {}
                Some(Landed::Private) | None => return None,
            }
        }
    }
}

/// Gives what was rendered to those who wait for it.
pub(crate) fn share(lead: &mut Option<Lead>, asked: &[usize], bodies: &[Bytes], storable: bool) {
    let Some(lead) = lead else { return };
    for (&position, body) in asked.iter().zip(bodies) {
        let landed = if storable { Landed::Shared(body.clone()) } else { Landed::Private };
        lead.land(position, landed);
        lead.share_gathered(body);
    }
}

/// Gives what was found after all to those who wait for it.
pub(crate) fn land(lead: &mut Option<Lead>, served: &[Served]) {
    let Some(lead) = lead else { return };
    for (position, served) in served.iter().enumerate() {
        if let Served::Hit(cached) = served {
            lead.land(position, Landed::Shared(cached.body.clone()));
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
    pub fn get_or_render<F, B, E>(self, render: F) -> Result<Rendered, E>
    where
        F: FnOnce() -> Result<B, E>,
        B: Into<String>,
    {
        let shared = self.sweeper.shared.clone();
        let (serving, serve) = Serving::begin(&shared, &self.settings, vec![self.on], Mode::Closure);
        let inside = serving.render.clone();
        let render = || inside.enter(render).map(|body| Bytes::from(body.into()));
        let Some(serve) = serve else {
            let served = Served::Unstored(render()?, Unstored::Bypass(Reason::InTransaction));
            return Ok(only(serving.end(&shared, vec![served])));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start) {
            Pause::Done(served) => served,
            Pause::Render(asked) => match render() {
                Ok(body) => session.rendered(&asked, vec![body], serving.render.is_storable()),
                Err(error) => {
                    session.abandon();
                    return Err(error);
                }
            },
        };
        Ok(only(serving.end(&shared, served)))
    }
}

pub(crate) fn only(rendered: Vec<Rendered>) -> Rendered {
    rendered.into_iter().next().unwrap_or_else(|| Rendered::new(Bytes::new(), crate::Outcome::Unstored, std::time::Duration::ZERO))
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
    pub fn get_or_render<F, E>(self, render: F) -> Result<Vec<Rendered>, E>
    where
        F: FnOnce(&[&T]) -> Result<Vec<String>, E>,
    {
        let shared = self.sweeper.shared.clone();
        let (serving, serve) = Serving::begin(&shared, &self.settings, of_rows(self.rows), Mode::Closure);
        let (inside, rows, name) = (serving.render.clone(), self.rows, self.settings.name.clone());
        let render = |asked: &[usize]| {
            let missing: Vec<&T> = asked.iter().map(|&position| &rows[position]).collect();
            inside.enter(|| render(&missing)).map(|pieces| bodies(&name, missing.len(), pieces))
        };
        let Some(serve) = serve else {
            let all: Vec<usize> = (0..serving.count()).collect();
            let bypass = |body| Served::Unstored(body, Unstored::Bypass(Reason::InTransaction));
            let served = render(&all)?.into_iter().map(bypass).collect();
            return Ok(serving.end(&shared, served));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start) {
            Pause::Done(served) => served,
            Pause::Render(asked) => match render(&asked) {
                Ok(bodies) => session.rendered(&asked, bodies, serving.render.is_storable()),
                Err(error) => {
                    session.abandon();
                    return Err(error);
                }
            },
        };
        Ok(serving.end(&shared, served))
    }
}

impl Page {
    /// Looks up one fragment per row, in one round trip per store node.
    pub fn prefetch<T: CacheSweep>(&self, rows: &[T], name: &str) {
        self.prefetch_many(|prefetch| {
            prefetch.rows(rows, name);
        });
    }

    /// Looks up all that `plan` names, in one round trip per store node.
    pub fn prefetch_many(&self, plan: impl FnOnce(&mut Prefetch)) {
        let mut prefetch = Prefetch::default();
        plan(&mut prefetch);
        let (lookup, keys) = self.page.begin_prefetch(&prefetch);
        let lookups = self.sweeper.drive(lookup);
        self.page.end_prefetch(keys, lookups);
    }

    /// Runs `render` with this page open: tags of templates find it.
    pub fn render<T>(&self, render: impl FnOnce() -> T) -> T {
        with_page(Arc::new(self.clone()), render)
    }

    /// Stores what the page's tags have rendered, in one batch.
    pub fn finish(self) {
        let ops = self.page.take_fills();
        if !ops.is_empty() {
            let replies = self.sweeper.run(ops.clone());
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
        self.page.tag(on, settings, body, Some(&|lookup| self.sweeper.drive(lookup)))
    }
}
