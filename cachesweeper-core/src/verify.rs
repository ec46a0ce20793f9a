//! The shadow verifier: a share of the hits is rendered again, and compared with what the store had.
//!
//! It watches the protocol from outside and changes nothing in it. Three rules make what it counts worth believing:
//!
//! * *A comparison counts only if nothing changed meanwhile.* The lookup is repeated after the render. Tokens never return, so
//!   the same stamp says that there was no write between the two. Any other answer makes the comparison void.
//! * *One difference proves nothing*, as the output may be different each time. It makes the fragment a suspect, and takes it
//!   out of the store. If it comes out differently again for the same stamp, it is not deterministic. If it comes out as the
//!   first time, what the store had was stale. The second look is a minute later, so that a clock on the page has moved.
//! * *A render that verifies uses no cache.* Fragments inside it are rendered too; otherwise an inner one that is not
//!   deterministic would make the outer one look stale.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::protocol::{Cached, Found, Lookup, Query};
use crate::shared::Shared;
use crate::stats::Counters;
use crate::store::Op;
use crate::version::Stamp;
use crate::{Clock, Micros};

/// From the first look at a suspect to the one that counts: a clock that shows minutes has moved by then.
const LOOK_AGAIN_AFTER: Micros = Micros(61_000_000);

/// Suspects that are remembered; beyond it the oldest one stays undecided.
const SUSPECTS: usize = 1_024;

/// Which hits are rendered again, and what has come of it.
#[derive(Debug)]
pub(crate) struct Verifier {
    rate: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the fragment's whole key.
    suspects: HashMap<String, Suspect>,
    /// Names of fragments that are not verified any more.
    nondeterministic: HashSet<String>,
}

/// A fragment that came out differently once.
#[derive(Debug)]
struct Suspect {
    name: String,
    stamp: Stamp,
    /// The hash of the first fresh render.
    fresh: u128,
    since: Micros,
    /// When the tokens were read of what the store had.
    read_at: Micros,
    difference: Difference,
}

/// What a comparison has shown.
#[derive(Debug)]
enum Verdict {
    Equal,
    Suspected(Difference),
    /// It came out as the first time, but too soon after it.
    TooEarly,
    Stale(Suspect),
    /// It is known of so many suspects now.
    Nondeterministic(usize),
}

impl Verifier {
    /// `None` at the rate 0: then nothing is verified.
    pub(crate) fn new(rate: f64) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this hit is to be rendered again.
    fn samples(&self, name: &str, key: &str, stamp: Stamp, clock: &dyn Clock) -> bool {
        let state = self.state();
        if state.nondeterministic.contains(name) {
            return false;
        }
        let suspect = state.suspects.get(key).filter(|suspect| suspect.stamp == stamp);
        if suspect.is_some_and(|suspect| clock.now() >= suspect.since.plus(LOOK_AGAIN_AFTER)) {
            return true;
        }
        drop(state);
        // 53 random bits, as a number below 1.
        ((clock.random() >> 11) as f64 / (1_u64 << 53) as f64) < self.rate
    }

    fn judge(&self, name: &str, key: &str, cached: &Cached, body: &Bytes, now: Micros) -> Verdict {
        let fresh = xxh3_128(body);
        let mut state = self.state();
        if let Some(suspect) = state.suspects.get(key).filter(|suspect| suspect.stamp == cached.stamp) {
            if suspect.fresh != fresh {
                state.nondeterministic.insert(name.to_owned());
                let before = state.suspects.len();
                state.suspects.retain(|_, suspect| suspect.name != name);
                return Verdict::Nondeterministic(before - state.suspects.len());
            }
            if now < suspect.since.plus(LOOK_AGAIN_AFTER) {
                return Verdict::TooEarly;
            }
            return state.suspects.remove(key).map_or(Verdict::TooEarly, Verdict::Stale);
        }
        let Some(difference) = Difference::between(&cached.body, body) else { return Verdict::Equal };
        if state.suspects.len() >= SUSPECTS
            && let Some(oldest) = state.suspects.iter().min_by_key(|(_, suspect)| suspect.since).map(|(key, _)| key.clone())
        {
            state.suspects.remove(&oldest);
        }
        let shown = difference.clone();
        let suspect = Suspect { name: name.to_owned(), stamp: cached.stamp, fresh, since: now, read_at: cached.read_at, difference };
        state.suspects.insert(key.to_owned(), suspect);
        Verdict::Suspected(shown)
    }
}

/// Where two bodies differ first, with a little of both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    at: usize,
    had: String,
    renders: String,
}

impl Difference {
    fn between(had: &[u8], renders: &[u8]) -> Option<Self> {
        if had == renders {
            return None;
        }
        let same = had.iter().zip(renders).take_while(|(left, right)| left == right).count();
        Some(Self { at: same, had: excerpt(had, same), renders: excerpt(renders, same) })
    }
}

/// A little of a body around this byte, in one line. Never the whole: what pages show has no place in logs.
fn excerpt(body: &[u8], at: usize) -> String {
    const BEFORE: usize = 16;
    const AFTER: usize = 48;
    let text = std::str::from_utf8(body).unwrap_or_default();
    let (start, end) = (text.floor_char_boundary(at.saturating_sub(BEFORE)), text.floor_char_boundary(at + AFTER));
    text[start..end].escape_debug().to_string()
}

/// One hit that is rendered again.
#[derive(Debug)]
struct Check {
    /// Where its caller asked for it; more than one if it did so twice.
    positions: Vec<usize>,
    query: Query,
    on: String,
    cached: Cached,
}

/// Hits that are rendered again. What is dropped without a conclusion (the closure failed or panicked, the caller went away)
/// was void.
#[derive(Debug)]
pub(crate) struct Checks {
    shared: Arc<Shared>,
    name: String,
    checks: Vec<Check>,
}

/// What comes of [`Checks`].
#[derive(Debug, Default)]
pub(crate) struct Conclusion {
    /// What to serve in place of what the store had, by the caller's positions.
    pub(crate) corrected: Vec<(usize, Bytes)>,
    /// Takes what differed out of the store.
    pub(crate) removals: Vec<Op>,
}

impl Checks {
    /// Draws the hits to render again. `None` if there are none.
    pub(crate) fn draw(
        shared: &Arc<Shared>,
        name: &str,
        on: &[crate::fragment::On],
        queries: &[Query],
        hits: Vec<(usize, &Cached)>,
    ) -> Option<Self> {
        let verifier = shared.verifier.as_ref()?;
        let mut checks: Vec<Check> = Vec::new();
        let mut known: HashMap<(&str, Stamp), Option<usize>> = HashMap::new();
        for (position, cached) in hits {
            let query = &queries[position];
            let key = (&**query.full_key(), query.in_hand());
            if let Some(drawn) = known.get(&key) {
                if let Some(check) = drawn.map(|place| &mut checks[place]) {
                    check.positions.push(position);
                }
                continue;
            }
            let drawn = verifier.samples(name, query.full_key(), cached.stamp, &*shared.clock);
            known.insert(key, drawn.then_some(checks.len()));
            if drawn {
                let on = on[position].iter().map(|dependency| dependency.record.to_string()).collect::<Vec<_>>().join(", ");
                checks.push(Check { positions: vec![position], query: query.clone(), on, cached: cached.clone() });
            }
        }
        (!checks.is_empty()).then(|| Self { shared: shared.clone(), name: name.to_owned(), checks })
    }

    /// What to render: one position for each.
    pub(crate) fn positions(&self) -> Vec<usize> {
        self.checks.iter().map(|check| check.positions[0]).collect()
    }

    /// With what is missing anyway: all positions to render, in the caller's order.
    pub(crate) fn along_with(&self, missing: &[usize]) -> Vec<usize> {
        let mut all = [missing, &self.positions()].concat();
        all.sort_unstable();
        all
    }

    /// Tells the bodies of what was missing from those to compare; they come as [`along_with`](Self::along_with) asked.
    pub(crate) fn tell_apart(&self, missing: &[usize], bodies: Vec<Bytes>) -> (Vec<Bytes>, Vec<Bytes>) {
        let compared: HashSet<usize> = self.checks.iter().map(|check| check.positions[0]).collect();
        let (mut filling, mut comparing) = (Vec::with_capacity(missing.len()), Vec::with_capacity(compared.len()));
        for (position, body) in self.along_with(missing).into_iter().zip(bodies) {
            if compared.contains(&position) { comparing.push(body) } else { filling.push(body) }
        }
        (filling, comparing)
    }

    /// The lookup that tells, after the render, whether anything has changed.
    pub(crate) fn look_again(&self) -> Lookup {
        Lookup::new(self.shared.rules, self.shared.namespace.marker(), self.queries())
    }

    /// What it looks up.
    pub(crate) fn queries(&self) -> Vec<Query> {
        self.checks.iter().map(|check| check.query.clone()).collect()
    }

    /// Judges the fresh renders, in the order of the positions; `found` is what the second lookup found.
    pub(crate) fn conclude(mut self, fresh: &[Bytes], found: &[Found]) -> Conclusion {
        let mut conclusion = Conclusion::default();
        for ((check, body), found) in std::mem::take(&mut self.checks).into_iter().zip(fresh).zip(found) {
            let stamp = match found {
                Found::Hit(cached) => Some(cached.stamp),
                // It was evicted meanwhile, which changes no token.
                Found::Miss { stamp, .. } => Some(*stamp),
                Found::Bypass { .. } => None,
            };
            if stamp != Some(check.cached.stamp) {
                Counters::bump(&self.shared.counters.verify_void);
                continue;
            }
            self.conclude_one(&check, body);
            if *body != check.cached.body {
                conclusion.corrected.extend(check.positions.iter().map(|&position| (position, body.clone())));
                conclusion.removals.push(check.query.removal());
                if let Some(near) = &self.shared.near {
                    near.forget(&check.query);
                }
            }
        }
        conclusion
    }

    fn conclude_one(&self, check: &Check, body: &Bytes) {
        let Some(verifier) = &self.shared.verifier else { return };
        let (counters, name, key) = (&self.shared.counters, &*self.name, &**check.query.full_key());
        match verifier.judge(name, key, &check.cached, body, self.shared.clock.now()) {
            Verdict::Equal => Counters::bump(&counters.verified),
            Verdict::TooEarly => Counters::bump(&counters.verify_void),
            Verdict::Suspected(Difference { at, had, renders }) => {
                Counters::bump(&counters.verify_suspected);
                if self.shared.first_time(&format!("suspect: {name}")) {
                    tracing::warn!(
                        fragment = name,
                        key,
                        at,
                        had,
                        renders,
                        "a hit was rendered again to be verified, and came out differently from this byte on; a later look tells whether it was stale"
                    );
                }
            }
            Verdict::Stale(suspect) => {
                Counters::bump(&counters.verified);
                Counters::bump(&counters.stale);
                let Difference { at, had, renders } = suspect.difference;
                tracing::error!(
                    fragment = name, key, on = check.on, stamp = ?suspect.stamp, tokens_read_at = suspect.read_at.0,
                    found_at = suspect.since.0, at, had, renders,
                    "a fragment was stale: the store had another output than a render gives, twice, for the same versions. Look for writes \
                     that went past the hooks or wrappers, and for rows that the fragment shows and does not name"
                );
            }
            Verdict::Nondeterministic(suspects) => {
                Counters::add(&counters.verify_nondeterministic, suspects);
                if self.shared.first_time(&format!("nondeterministic: {name}")) {
                    tracing::warn!(
                        fragment = name,
                        key,
                        "the fragment comes out differently each time, for the same versions; fragments of this name are not verified"
                    );
                }
            }
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        Counters::add(&self.shared.counters.verify_void, self.checks.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown_with_a_little_of_both() {
        assert_eq!(Difference::between(b"same", b"same"), None);
        let long = "x".repeat(1_000);
        let (had, renders) = (format!("{long}1\n{long}"), format!("{long}2{long}"));
        let found = Difference::between(had.as_bytes(), renders.as_bytes()).expect("they differ");
        assert_eq!(found.at, 1_000);
        assert!(found.had.contains("x1\\nx") && found.had.len() < 80, "{found:?}");
        let cut = Difference::between("zwölf".as_bytes(), "zwölf und mehr".as_bytes()).expect("one is longer");
        assert_eq!((cut.at, &*cut.had, &*cut.renders), (6, "zwölf", "zwölf und mehr"));
        // ö and ä differ in their second byte: the excerpt begins with the whole letter.
        let inside = Difference::between("öö".repeat(20).as_bytes(), ["ö".repeat(39), "ä".into()].concat().as_bytes());
        assert_eq!(inside.expect("they differ").at, 79);
    }

    #[test]
    fn a_full_table_of_suspects_drops_the_oldest() {
        let verifier = Verifier::new(1.0).expect("it is on");
        let cached = Cached { body: Bytes::from_static(b"had"), read_at: Micros(1), stamp: Stamp::from_bytes([7; 16]) };
        let body = Bytes::from_static(b"renders");
        for at in 0..=SUSPECTS as u64 {
            let verdict = verifier.judge("f", &format!("k{at}"), &cached, &body, Micros(at));
            assert!(matches!(verdict, Verdict::Suspected(_)));
        }
        assert_eq!(verifier.state().suspects.len(), SUSPECTS);
        assert!(!verifier.state().suspects.contains_key("k0"));
    }
}
