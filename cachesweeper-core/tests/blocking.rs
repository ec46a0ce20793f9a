//! The blocking face: holds that are renewed while a COMMIT runs, and what ORMs' adapters do with marks.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::face::{Face, now};
use cachesweeper_core::registry::Graph;
use cachesweeper_core::{Builder, Mark, Outcome, Reason, RecordKey};
use support::{Hand, render, word};

fn build(with: impl FnOnce(Builder<Sweeper>) -> Builder<Sweeper>) -> Sweeper {
    with(Sweeper::builder().memory(1 << 20).graph(Graph::default())).build().unwrap()
}

/// Whether a lookup is bypassed because of a hold.
fn held(sweeper: &Sweeper, key: &RecordKey) -> bool {
    match render(sweeper, key, "body").outcome() {
        Outcome::Bypass(Reason::Held) => true,
        Outcome::Bypass(other) => panic!("bypassed for another reason: {other}"),
        _ => false,
    }
}

#[test]
fn a_hold_is_renewed_for_as_long_as_its_commit_runs() {
    let hold = Duration::from_millis(400);
    let sweeper = build(|builder| builder.hold(hold));
    let key = RecordKey::new("comment", 1);
    assert_eq!([word(&sweeper, &key), word(&sweeper, &key)], ["miss", "hit"]);

    let mut mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    let first = mark.deadline();
    let committed = AtomicBool::new(false);
    let lookups = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut lookups = 0;
            while !committed.load(Ordering::SeqCst) {
                assert!(held(&sweeper, &key), "lookup {lookups} was not held");
                lookups += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            lookups
        });
        let answer = now(sweeper.hold_while(&mut mark, async {
            std::thread::sleep(2 * hold);
            committed.store(true, Ordering::SeqCst);
            "committed"
        }));
        assert_eq!(answer, "committed");
        reader.join().unwrap()
    });
    assert!(lookups > 0, "the reader never looked");
    assert!(sweeper.stats().renewals > 0, "{:?}", sweeper.stats());
    assert!(mark.deadline() > first, "the mark that comes back is the renewed one");

    sweeper.release(&mark);
    // A renewal that the release did not name would still hold.
    assert_eq!([word(&sweeper, &key), word(&sweeper, &key)], ["miss", "hit"]);
}

#[test]
fn a_commit_within_half_the_hold_is_not_renewed() {
    let sweeper = build(|builder| builder.hold(Duration::from_secs(60)));
    let key = RecordKey::new("comment", 1);
    let mut mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    now(sweeper.hold_while(&mut mark, async {}));
    assert!(held(&sweeper, &key));
    sweeper.release(&mark);
    assert_eq!([word(&sweeper, &key), word(&sweeper, &key)], ["miss", "hit"]);
    assert_eq!(sweeper.stats().renewals, 0);
}

#[test]
fn a_commit_that_panics_takes_its_hold_off_the_list() {
    let hold = Duration::from_millis(100);
    let sweeper = build(|builder| builder.hold(hold));
    let key = RecordKey::new("comment", 1);
    let mut mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        now(sweeper.hold_while(&mut mark, async { panic!("on purpose") }));
    }));
    assert!(panicked.is_err());
    // Nobody releases it, and nobody renews it.
    eventually(|| !held(&sweeper, &key));
    assert_eq!(word(&sweeper, &key), "hit");
}

/// Asks until it is so.
#[track_caller]
fn eventually(is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "it never was");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_commit_of_unknown_outcome_holds_until_the_limit() {
    let (hold, limit) = (Duration::from_millis(200), Duration::from_millis(450));
    let sweeper = build(|builder| builder.hold(hold).unknown_commit_limit(limit));
    let key = RecordKey::new("comment", 1);
    assert_eq!([word(&sweeper, &key), word(&sweeper, &key)], ["miss", "hit"]);

    let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    let began = Instant::now();
    sweeper.hold_on(mark);
    eventually(|| {
        let held = held(&sweeper, &key);
        assert!(held || began.elapsed() >= limit, "not held any more after {:?}", began.elapsed());
        !held
    });
    assert!(sweeper.stats().renewals > 1, "{:?}", sweeper.stats());
    // What was not held any more has filled.
    assert_eq!(word(&sweeper, &key), "hit");
    assert_eq!(sweeper.stats().misses, 2, "one before the write, one after it");
}

/// What an adapter does with marks, at a clock that is moved by hand. `look` looks up with any face of the sweeper.
async fn marks(sweeper: &impl Face, look: &Sweeper, clock: &Hand) {
    let (a, b) = (RecordKey::new("comment", 1), RecordKey::new("comment", 2));
    let words = || [word(look, &a), word(look, &b)];
    let only_a = std::slice::from_ref(&a);
    assert_eq!([words(), words()], [["miss"; 2], ["hit"; 2]]);

    // A hold ends by itself after 3 s, that of a transaction whose end is not seen after 10 s.
    sweeper.mark(only_a).await.unwrap();
    assert_eq!(words(), ["bypass", "hit"]);
    clock.advance(Duration::from_millis(3_100));
    assert_eq!([words(), words()], [["miss", "hit"], ["hit"; 2]]);
    let mark = sweeper.mark_plain(only_a).await.unwrap();
    assert!(!mark.has_failed() && mark.deadline() == sweeper.now().plus(sweeper.config().plain_hold.into()));
    clock.advance(Duration::from_millis(9_900));
    assert_eq!(words(), ["bypass", "hit"]);
    clock.advance(Duration::from_millis(200));
    assert_eq!([words(), words()], [["miss", "hit"], ["hit"; 2]]);

    // A renewed hold ends later, and its release ends all of it.
    let mut mark = sweeper.mark(only_a).await.unwrap();
    clock.advance(Duration::from_secs(2));
    sweeper.renew(&mut mark).await;
    assert_eq!(mark.deadline(), sweeper.now().plus(sweeper.config().hold.into()));
    clock.advance(Duration::from_secs(2));
    assert_eq!(words(), ["bypass", "hit"]);
    sweeper.release(&mark).await;
    assert_eq!([words(), words()], [["miss", "hit"], ["hit"; 2]]);
    assert_eq!(look.stats().renewals, 1);

    // What was found only after the COMMIT is invalidated with the release.
    let mark = sweeper.mark(only_a).await.unwrap();
    sweeper.release_and_invalidate(mark, &[a.clone(), b.clone()]).await;
    assert_eq!([words(), words()], [["miss"; 2], ["hit"; 2]]);
    // With nothing more to invalidate, it is a release.
    let mark = sweeper.mark(only_a).await.unwrap();
    sweeper.release_and_invalidate(mark, only_a).await;
    assert_eq!([words(), words()], [["miss", "hit"], ["hit"; 2]]);
    // And with no hold, an invalidation.
    sweeper.release_and_invalidate(Mark::default(), std::slice::from_ref(&b)).await;
    assert_eq!([words(), words()], [["hit", "miss"], ["hit"; 2]]);
    sweeper.release_and_invalidate(Mark::default(), &[]).await;
    assert_eq!(words(), ["hit"; 2]);
    Face::invalidate_records(sweeper, only_a).await;
    assert_eq!([words(), words()], [["miss", "hit"], ["hit"; 2]]);
}

#[test]
fn the_blocking_face_marks_renews_and_releases() {
    let clock = Arc::new(Hand::default());
    let sweeper = build(|builder| builder.clock(clock.clone()));
    now(marks(&sweeper, &sweeper, &clock));
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn and_so_does_the_async_face() {
    let clock = Arc::new(Hand::default());
    let builder = cachesweeper_core::Sweeper::builder().memory(1 << 20).graph(Graph::default()).clock(clock.clone());
    let sweeper = builder.build().unwrap();
    let blocking = sweeper.blocking().unwrap();
    marks(&sweeper, &blocking, &clock).await;
}
