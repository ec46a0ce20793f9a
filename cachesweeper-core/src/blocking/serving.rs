//! Serving fragments: a session per call, which joins flights, sleeps and renders as its machine says.

use std::time::Instant;

use bytes::Bytes;

use super::{Fragment, Fragments, Sweeper};
use crate::flight::{Gathered, Joined, Landed, Lead, Running};
use crate::fragment::{Serving, bodies, hits, of_rows};
use crate::protocol::{Flight, Mode, Serve, ServeInput, ServeStep, Served};
use crate::verify::{Checks, Conclusion};
use crate::{CacheSweep, Rendered};

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

    /// Compares hits with fresh renders of them, and tells what to serve in their place. A render that may not be stored shows
    /// what is not the same for everybody, so it proves nothing.
    fn compare(&self, checks: Checks, fresh: &[Bytes], storable: bool) -> Vec<(usize, Bytes)> {
        if !storable {
            return Vec::new();
        }
        let found = self.sweeper.drive_now(checks.look_again()).found;
        let Conclusion { corrected, removals } = checks.conclude(fresh, &found);
        if !removals.is_empty() {
            self.sweeper.run(removals);
        }
        corrected
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
        if let Some(hit) = self.at_a_glance() {
            return Ok(hit);
        }
        let shared = self.sweeper.shared.clone();
        let (mut serving, serve) = Serving::begin(&shared, &self.settings, [self.on], Mode::Closure);
        let inside = serving.render.clone();
        let render = || inside.enter(render).map(|body| Bytes::from(body.into()));
        let Some(serve) = serve else {
            let served = serving.bypassed(render()?);
            return Ok(only(serving.end(&shared, vec![served])));
        };
        let mut session = Session::new(self.sweeper, serve);
        let served = match session.run(ServeInput::Start) {
            Pause::Done(served) => {
                if let Some(checks) = serving.checks(&shared, || hits(&served))
                    && let Ok(body) = render()
                {
                    serving.correct(session.compare(checks, &[body], inside.is_storable()));
                }
                served
            }
            Pause::Render(asked) => match render() {
                Ok(body) => session.rendered(&asked, vec![body], inside.is_storable()),
                Err(error) => {
                    session.abandon();
                    return Err(error);
                }
            },
        };
        Ok(only(serving.end(&shared, served)))
    }
}

impl Fragment<'_> {
    fn at_a_glance(&self) -> Option<Rendered> {
        let (shared, started) = (&self.sweeper.shared, Instant::now());
        let (query, ops) = shared.glance(&self.settings, &self.on)?;
        let replies = self.sweeper.store.run(&ops);
        let hit = shared.seen(&self.settings.name, &query, &ops, replies, started)?;
        shared.warn_of_strangers(&self.settings.name, &self.on);
        Some(hit)
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
        let (mut serving, serve) = Serving::begin(&shared, &self.settings, of_rows(self.rows), Mode::Closure);
        let (inside, rows, name) = (serving.render.clone(), self.rows, self.settings.name.clone());
        let render = |asked: &[usize]| {
            let missing: Vec<&T> = asked.iter().map(|&position| &rows[position]).collect();
            inside.enter(|| render(&missing)).map(|pieces| bodies(&name, missing.len(), pieces))
        };
        let Some(serve) = serve else {
            let all: Vec<usize> = (0..serving.count()).collect();
            let served = render(&all)?.into_iter().map(|body| serving.bypassed(body)).collect();
            return Ok(serving.end(&shared, served));
        };
        let mut session = Session::new(self.sweeper, serve);
        let (asked, done) = match session.run(ServeInput::Start) {
            Pause::Done(served) => (Vec::new(), Some(served)),
            Pause::Render(asked) => (asked, None),
        };
        let checks = serving.checks(&shared, || done.as_deref().map_or_else(|| session.serve.hits().collect(), hits));
        let positions = match (&checks, &done) {
            (Some(checks), _) => checks.along_with(&asked),
            (None, None) => asked.clone(),
            (None, Some(_)) => return Ok(serving.end(&shared, done.unwrap_or_default())),
        };
        let served = match (render(&positions), done) {
            (Ok(bodies), done) => {
                let (mut filling, mut comparing) = (bodies, Vec::new());
                if let Some(checks) = &checks {
                    (filling, comparing) = checks.tell_apart(&asked, filling);
                }
                let storable = inside.is_storable();
                let served = match done {
                    Some(served) => served,
                    None => session.rendered(&asked, filling, storable),
                };
                if let Some(checks) = checks {
                    serving.correct(session.compare(checks, &comparing, storable));
                }
                served
            }
            // All were hits: what failed was to verify some.
            (Err(_), Some(served)) => served,
            (Err(error), None) => {
                session.abandon();
                return Err(error);
            }
        };
        Ok(serving.end(&shared, served))
    }
}
