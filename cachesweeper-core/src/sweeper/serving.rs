//! Serving fragments: a session per call, which joins flights, sleeps and renders as its machine says.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Fragment, Fragments, Sweeper};
use crate::blocking::{land, only, share};
use crate::face::Face as _;
use crate::flight::{Gathered, Joined, Landed, Lead, Running};
use crate::fragment::{Serving, bodies, hits, of_rows};
use crate::protocol::{Flight, Mode, Serve, ServeInput, ServeStep, Served};
use crate::verify::{Checks, Conclusion};
use crate::{CacheSweep, Rendered};

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

    /// Compares hits with fresh renders of them, and tells what to serve in their place. A render that may not be stored shows
    /// what is not the same for everybody, so it proves nothing.
    async fn compare(&self, checks: Checks, fresh: &[Bytes], storable: bool) -> Vec<(usize, Bytes)> {
        if !storable {
            return Vec::new();
        }
        let found = self.sweeper.drive(checks.look_again()).await.found;
        let Conclusion { corrected, removals } = checks.conclude(fresh, &found);
        if !removals.is_empty() {
            self.sweeper.run(removals).await;
        }
        corrected
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
        if let Some(hit) = self.at_a_glance().await {
            return Ok(hit);
        }
        let shared = self.sweeper.shared();
        let (mut serving, serve) = Serving::begin(shared, &self.settings, [self.on], Mode::Closure);
        let inside = serving.render.clone();
        let Some(serve) = serve else {
            let body = inside.wrap(render()).await?.into();
            let served = serving.bypassed(Bytes::from(body));
            return Ok(only(serving.end(shared, vec![served])));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start).await {
            Pause::Done(served) => {
                if let Some(checks) = serving.checks(shared, || hits(&served))
                    && let Ok(body) = inside.wrap(render()).await
                {
                    let fresh = [Bytes::from(body.into())];
                    serving.correct(session.compare(checks, &fresh, inside.is_storable()).await);
                }
                served
            }
            Pause::Render(asked) => match inside.wrap(render()).await {
                Ok(body) => session.rendered(&asked, vec![Bytes::from(body.into())], inside.is_storable()).await,
                Err(error) => {
                    session.abandon().await;
                    return Err(error);
                }
            },
        };
        Ok(only(serving.end(shared, served)))
    }
}

impl Fragment<'_> {
    async fn at_a_glance(&self) -> Option<Rendered> {
        let (shared, started) = (self.sweeper.shared(), std::time::Instant::now());
        let (query, ops) = shared.glance(&self.settings, &self.on)?;
        let replies = self.sweeper.inner.store.run(&ops).await;
        let hit = shared.seen(&self.settings.name, &query, &ops, replies, started)?;
        shared.warn_of_strangers(&self.settings.name, &self.on);
        Some(hit)
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
        let (mut serving, serve) = Serving::begin(shared, &self.settings, of_rows(self.rows), Mode::Closure);
        let (inside, name) = (serving.render.clone(), &self.settings.name);
        let Some(serve) = serve else {
            let all: Vec<&T> = self.rows.iter().collect();
            let pieces = inside.wrap(render(&all)).await?;
            let served = bodies(name, serving.count(), pieces).into_iter().map(|body| serving.bypassed(body)).collect();
            return Ok(serving.end(shared, served));
        };
        let mut session = Session::new(self.sweeper, serve);
        let (asked, done) = match session.run(ServeInput::Start).await {
            Pause::Done(served) => (Vec::new(), Some(served)),
            Pause::Render(asked) => (asked, None),
        };
        let checks = serving.checks(shared, || done.as_deref().map_or_else(|| session.serve.hits().collect(), hits));
        let positions = match (&checks, &done) {
            (Some(checks), _) => checks.along_with(&asked),
            (None, None) => asked.clone(),
            (None, Some(_)) => return Ok(serving.end(shared, done.unwrap_or_default())),
        };
        let rows: Vec<&T> = positions.iter().map(|&position| &self.rows[position]).collect();
        let served = match (inside.wrap(render(&rows)).await, done) {
            (Ok(pieces), done) => {
                let (mut filling, mut comparing) = (bodies(name, rows.len(), pieces), Vec::new());
                if let Some(checks) = &checks {
                    (filling, comparing) = checks.tell_apart(&asked, filling);
                }
                let storable = inside.is_storable();
                let served = match done {
                    Some(served) => served,
                    None => session.rendered(&asked, filling, storable).await,
                };
                if let Some(checks) = checks {
                    serving.correct(session.compare(checks, &comparing, storable).await);
                }
                served
            }
            // All were hits: what failed was to verify some.
            (Err(_), Some(served)) => served,
            (Err(error), None) => {
                session.abandon().await;
                return Err(error);
            }
        };
        Ok(serving.end(shared, served))
    }
}
