//! The naive schemes: what they do otherwise, as changes to the messages that the protocol sends.
//!
//! Everything else stays the production code, so what is found is the scheme's own fault.

use bytes::Bytes;
use cachesweeper_core::protocol::Envelope;
use cachesweeper_core::store::{Action, Op};
use cachesweeper_core::version::{Event, Marker, Uid, VersionLog};
use cachesweeper_core::{Micros, Tick};

use crate::setup::Scheme;
use crate::store::Items;
use crate::world::{BEGINNING, World, ancient};

/// The random part of a head that a reader sends, until it lands.
pub const UNNAMED: u64 = u32::MAX as u64;
/// The random part of the first head that lands.
const FIRST_HEAD: u64 = 1 << 20;

fn is_unnamed(head: Uid) -> bool {
    head.to_bytes()[8..] == UNNAMED.to_be_bytes()
}

/// Reads appended events.
fn events(bytes: &[u8]) -> Vec<Event> {
    let log = [VersionLog::fresh(ancient(0)).to_bytes(), bytes.to_vec()].concat();
    VersionLog::parse(&log).map(|log| log.events().to_vec()).unwrap_or_default()
}

fn map_log(bytes: &Bytes, head: impl Fn(Uid) -> Uid, event: impl Fn(Event) -> Event) -> Bytes {
    match VersionLog::parse(bytes) {
        Ok(log) => log.events().iter().copied().map(event).fold(VersionLog::fresh(head(log.head())), VersionLog::with).to_bytes().into(),
        Err(_) => bytes.clone(),
    }
}

impl World {
    /// What the scheme makes of a batch. `now` is the sender's clock.
    pub fn rewrite(&self, ops: &mut [Op], items: &Items, now: Micros) {
        for op in ops {
            if self.is_log(&op.key) {
                self.rewrite_log(&mut op.action, now);
                self.forget_births(&mut op.action);
            } else if let (false, Action::Set(value, _)) = (self.setup.has_ages(), &mut op.action)
                && let Some(envelope) = Envelope::decode(value, &op.key)
            {
                // Nobody asks when its tokens were read.
                *value = Envelope { read_at: Micros(BEGINNING), ..envelope }.encode(&op.key);
            }
            if let (Scheme::TokensReadAgain, Action::Set(value, _)) = (self.setup.scheme, &mut op.action)
                && let Some(number) = self.queries.iter().position(|query| *query.full_key() == op.key)
                && let Some(envelope) = Envelope::decode(value, &op.key)
            {
                let stamp = self.stamp(&self.setup.fragments[number], items);
                *value = Envelope { stamp, ..envelope }.encode(&op.key);
            }
        }
    }

    fn rewrite_log(&self, action: &mut Action, now: Micros) {
        match self.setup.scheme {
            Scheme::SingleFlag => {
                let one = |event| match event {
                    Event::Mark { deadline, .. } => Event::Mark { uid: ancient(500), deadline },
                    Event::Release { birth, .. } => Event::Release { uid: ancient(500), birth },
                    other => other,
                };
                change_events(action, one);
            }
            Scheme::ReleaseBornWithMark => change_events(action, |event| match event {
                Event::Release { uid, .. } => Event::Release { uid, birth: uid.birth() },
                other => other,
            }),
            Scheme::RestartAtOne => {
                if let Action::Add(value, _) | Action::Set(value, _) | Action::Replace(_, value, _) = action {
                    *value = map_log(value, |_| ancient(0), |event| event);
                }
            }
            Scheme::BlindSet => {
                if let Action::Append(more, ttl) = action {
                    let events = events(more);
                    let head = events.first().map_or(ancient(2), |event| match event {
                        Event::Mark { uid, .. } | Event::Release { uid, .. } | Event::Quarantine { head: uid, .. } => *uid,
                    });
                    *action = Action::Set(events.into_iter().fold(VersionLog::fresh(head), VersionLog::with).to_bytes().into(), *ttl);
                }
            }
            Scheme::OneStepQuarantine => {
                if let Action::Add(value, _) = action
                    && let Ok(log) = VersionLog::parse(value)
                {
                    let deadline = now.plus(self.setup.rules.longest_hold).plus(self.setup.rules.skew);
                    let quarantine = Event::Quarantine { head: log.head(), deadline };
                    *value = log.with(quarantine).to_bytes().into();
                }
            }
            _ => {}
        }
    }

    /// Where no page asks how old a log's events are, they have no age: fewer states that differ in nothing.
    fn forget_births(&self, action: &mut Action) {
        if !self.setup.has_pages() {
            change_events(action, |event| match event {
                Event::Release { uid, .. } => Event::Release { uid, birth: Micros(BEGINNING) },
                other => other,
            });
        }
    }

    /// Gives a head that lands its uid: the `number`th.
    ///
    /// A sender forgets the uid of a head at once, so nobody can tell that it was chosen when the head landed and not when it
    /// was sent; and of two that are under way only one lands. The numbers of those that never land are saved.
    pub fn name_head(&self, op: &mut Op, number: u16) {
        let named = |head: Uid| {
            let birth = if self.setup.has_pages() { head.birth() } else { Micros(BEGINNING) };
            Uid::new(Tick { now: birth, random: FIRST_HEAD + u64::from(number) })
        };
        let (Action::Add(value, _) | Action::Set(value, _) | Action::Replace(_, value, _)) = &mut op.action else { return };
        if op.key == self.marker {
            if let Some(marker) = Marker::parse(value).filter(|marker| is_unnamed(marker.head())) {
                *value = Marker::bare(named(marker.head())).into();
            }
        } else if let Ok(log) = VersionLog::parse(value)
            && is_unnamed(log.head())
        {
            let head = named(log.head());
            let own = |event| match event {
                Event::Quarantine { head: old, deadline } if old == log.head() => Event::Quarantine { head, deadline },
                other => other,
            };
            *value = log.events().iter().copied().map(own).fold(VersionLog::fresh(head), VersionLog::with).to_bytes().into();
        }
    }

    /// In which order a batch is sent.
    pub fn order(&self, ops: &[Op]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..ops.len()).collect();
        if self.setup.scheme == Scheme::MarkerFirst {
            order.sort_by_key(|&index| !(ops[index].key == self.marker && matches!(ops[index].action, Action::Get)));
        }
        order
    }
}

fn change_events(action: &mut Action, change: impl Fn(Event) -> Event) {
    match action {
        Action::Append(more, _) => *more = events(more).into_iter().map(change).flat_map(Event::to_bytes).collect::<Vec<u8>>().into(),
        Action::Add(value, _) | Action::Set(value, _) | Action::Replace(_, value, _) => *value = map_log(value, |head| head, change),
        _ => {}
    }
}
