//! Serving fragments: a session per call, which joins flights, sleeps and renders as its machine says.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Fragment, Fragments, Sweeper};
use crate::blocking::{land, only, share};
use crate::face::Face as _;
use crate::flight::{Gathered, Joined, Landed, Lead, Running};
use crate::fragment::{Serving, bodies, of_rows};
use crate::protocol::{Flight, Mode, Reason, Serve, ServeInput, ServeStep, Served, Unstored};
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
