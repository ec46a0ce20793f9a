//! Flights: callers of this process who want the same render share one.
//!
//! The table knows who leads; waiting is the driver's, with or without a runtime, on an [`Event`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use event_listener::{Event, EventListener};

use crate::protocol::Flight;
use crate::version::Stamp;

type Key = (Arc<str>, Stamp);

/// One render under way.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// `None` until it has ended.
    result: Mutex<Option<Landed>>,
    ended: Event,
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub(crate) enum Landed {
    /// With a body for everybody.
    Shared(Bytes),
    /// With a render that is good for its own caller only: the others render too.
    Private,
    /// Its leader is gone (an error, a dropped future): somebody else must lead.
    Abandoned,
}

impl Running {
    fn end(&self, landed: Landed) {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(landed);
        self.ended.notify(usize::MAX);
    }

    /// The result if it has ended, or something to wait on before asking again.
    pub(crate) fn result(&self) -> Result<Landed, EventListener> {
        let peek = || self.result.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(landed) = peek() {
            return Ok(landed);
        }
        // Listen first, then look again: an end in between is not missed.
        let listener = self.ended.listen();
        peek().ok_or(listener)
    }
}

/// A render that cannot be stored runs at most once at a time; who comes during it waits for the next.
#[derive(Debug)]
struct Gathering {
    running: Arc<Running>,
    next: Option<Arc<Running>>,
}

#[derive(Debug, Default)]
struct Tables {
    flights: HashMap<Key, Arc<Running>>,
    gatherings: HashMap<Key, Gathering>,
}

/// All flights of a sweeper.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<Tables>);

/// What a caller who joins is told.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It leads all of them.
    Leading(Lead),
    /// Others lead these: wait for each, then join again with what is left.
    Following(Vec<(usize, Arc<Running>)>),
}

/// What a caller of a render that cannot be stored is told.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// Render now.
    Render(Lead),
    /// Lead the next render: wait for the running one to end, then call [`Lead::begin`].
    After(Arc<Running>, Lead),
    /// Someone else leads the next render: wait for it.
    Follow(Arc<Running>),
}

impl Flights {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        let tables = self.tables();
        tables.flights.len() + tables.gatherings.len()
    }

    /// Leads all of these flights, or none: who leads some and waits for others could wait in a circle.
    pub(crate) fn join(self: &Arc<Self>, flights: &[Flight]) -> Joined {
        let mut tables = self.tables();
        let key = |flight: &Flight| (flight.key.clone(), flight.stamp);
        let led = flights.iter().filter_map(|flight| Some((flight.position, tables.flights.get(&key(flight))?.clone())));
        let led: Vec<_> = led.collect();
        if !led.is_empty() {
            return Joined::Following(led);
        }
        let mut keys = Vec::with_capacity(flights.len());
        for flight in flights {
            let running = Arc::new(Running::default());
            tables.flights.insert(key(flight), running.clone());
            keys.push((flight.position, key(flight), running));
        }
        Joined::Leading(Lead { table: self.clone(), flights: keys, gathering: None })
    }

    /// Joins the next render of this fragment that cannot be stored.
    pub(crate) fn gather(self: &Arc<Self>, flight: &Flight) -> Gathered {
        let key = (flight.key.clone(), flight.stamp);
        let mut tables = self.tables();
        let lead =
            |running: &Arc<Running>| Lead { table: self.clone(), flights: Vec::new(), gathering: Some((key.clone(), running.clone())) };
        match tables.gatherings.get_mut(&key) {
            None => {
                let running = Arc::new(Running::default());
                tables.gatherings.insert(key.clone(), Gathering { running: running.clone(), next: None });
                Gathered::Render(lead(&running))
            }
            Some(Gathering { next: Some(next), .. }) => Gathered::Follow(next.clone()),
            Some(Gathering { running, next }) => {
                let mine = next.insert(Arc::new(Running::default())).clone();
                Gathered::After(running.clone(), lead(&mine))
            }
        }
    }
}

/// The flights that a caller leads. Dropping it ends them without a result, so that the others go on by themselves.
#[derive(Debug)]
pub(crate) struct Lead {
    table: Arc<Flights>,
    flights: Vec<(usize, Key, Arc<Running>)>,
    gathering: Option<(Key, Arc<Running>)>,
}

impl Lead {
    /// The next render begins: who comes from now on waits for the one after it.
    pub(crate) fn begin(&self) {
        let Some((key, mine)) = &self.gathering else { return };
        let mut tables = self.table.tables();
        match tables.gatherings.get_mut(key) {
            Some(gathering) if gathering.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, mine)) => {
                gathering.running = mine.clone();
                gathering.next = None;
            }
            Some(_) => {}
            None => {
                tables.gatherings.insert(key.clone(), Gathering { running: mine.clone(), next: None });
            }
        }
    }

    /// Ends the flight of one fragment, if this caller leads it.
    pub(crate) fn land(&mut self, position: usize, landed: Landed) {
        if let Some(index) = self.flights.iter().position(|(other, ..)| *other == position) {
            let (_, key, running) = self.flights.swap_remove(index);
            self.end_flight(&key, &running, landed);
        }
    }

    /// Ends the render that cannot be stored with its body.
    pub(crate) fn share_gathered(&mut self, body: &Bytes) {
        if let Some((key, running)) = self.gathering.take() {
            self.end_gathering(&key, &running, Landed::Shared(body.clone()));
        }
    }

    fn end_flight(&self, key: &Key, running: &Arc<Running>, landed: Landed) {
        let mut tables = self.table.tables();
        if tables.flights.get(key).is_some_and(|current| Arc::ptr_eq(current, running)) {
            tables.flights.remove(key);
        }
        drop(tables);
        running.end(landed);
    }

    fn end_gathering(&self, key: &Key, running: &Arc<Running>, landed: Landed) {
        let mut tables = self.table.tables();
        if let Some(gathering) = tables.gatherings.get_mut(key) {
            if gathering.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, running)) {
                // Given up before it began.
                gathering.next = None;
                if gathering.running.result().is_ok() {
                    tables.gatherings.remove(key);
                }
            } else if Arc::ptr_eq(&gathering.running, running) && gathering.next.is_none() {
                tables.gatherings.remove(key);
            }
        }
        drop(tables);
        running.end(landed);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        for (_, key, running) in std::mem::take(&mut self.flights) {
            self.end_flight(&key, &running, Landed::Abandoned);
        }
        if let Some((key, running)) = self.gathering.take() {
            self.end_gathering(&key, &running, Landed::Abandoned);
        }
    }
}
