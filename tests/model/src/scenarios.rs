//! The table of scenarios: what they are made of, and what each must show.

mod combined;
mod naive;
mod near;
mod protocol;
mod removed;

use crate::seen::Seen;
use crate::setup::{Budget, Reader, Reads, Row, Setup, Writer};

/// What a scenario must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// No interleaving is stale.
    NeverStale,
    /// Some interleaving is stale, and it is found.
    Stale,
}

impl Expectation {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::NeverStale => "never stale",
            Self::Stale => "must be found stale",
        }
    }
}

/// In which sets a scenario is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// In both.
    Small,
    /// In the full one alone.
    Full,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What it must show.
    pub expectation: Expectation,
    /// Where it is.
    pub set: Set,
    /// Beyond a hit that shows a write, and the faults: what it must come across.
    pub sees: &'static [Seen],
    make: fn(&mut Setup),
}

impl Scenario {
    const fn never(set: Set, name: &'static str, about: &'static str, sees: &'static [Seen], make: fn(&mut Setup)) -> Self {
        Self { name, about, expectation: Expectation::NeverStale, set, sees, make }
    }

    const fn stale(set: Set, name: &'static str, about: &'static str, make: fn(&mut Setup)) -> Self {
        Self { name, about, expectation: Expectation::Stale, set, sees: &[], make }
    }

    /// Its world.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::new();
        (self.make)(&mut setup);
        setup
    }

    /// What has to be come across, so that the check shows something.
    pub fn must_see(&self) -> Vec<Seen> {
        let setup = self.setup();
        let Budget { crash, evict, restart, cut, duplicate, pause, abort, leave, renew, restore, unknown } = setup.budget;
        let faults = [
            (crash, Seen::Crash),
            (evict, if setup.evict_held { Seen::EvictHeld } else { Seen::Evict }),
            (restart, Seen::Restart),
            (cut, Seen::Cut),
            (cut, Seen::Late),
            (duplicate, Seen::Duplicate),
            (pause, Seen::Pause),
            (abort, Seen::Abort),
            (leave, Seen::Leave),
            (renew, Seen::Renew),
            (restore, Seen::Restore),
            (unknown, Seen::Unknown),
        ];
        let faults = faults.into_iter().filter(|(budget, _)| *budget > 0).map(|(_, seen)| seen);
        [Seen::Hit, Seen::HitAfterWrite, Seen::HitAfterFault].into_iter().chain(faults).chain(self.sees.iter().copied()).collect()
    }
}

/// All scenarios, the cheaper ones of each kind first.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    protocol::ALL.iter().chain(combined::ALL).chain(near::ALL).chain(naive::ALL).chain(removed::ALL)
}

/// So many more writes of the first row like the first, each in a process of its own.
fn writers(setup: &mut Setup, count: usize) {
    setup.writers = (0..count).map(|number| Writer { process: 4 + number, ..setup.writers[0] }).collect();
}

/// So many readers of fragments, each in a process of its own.
fn readers(setup: &mut Setup, fragments: &[usize]) {
    let reader = |(number, &fragment)| Reader { fragment, reads: Reads::Closure, process: number };
    setup.readers = fragments.iter().enumerate().map(reader).collect();
}

/// Readers are pages.
fn pages(setup: &mut Setup) {
    setup.readers.iter_mut().for_each(|reader| reader.reads = Reads::Page);
}

/// All readers are in one process, and share flights.
fn shared(setup: &mut Setup) {
    setup.readers.iter_mut().for_each(|reader| reader.process = 0);
    setup.flights = true;
}

/// Rows with these parents, on one node.
fn rows(setup: &mut Setup, parents: &[Option<usize>]) {
    setup.rows = parents.iter().map(|&parent| Row { parent, node: 0 }).collect();
}
