//! The shadow verifier: what it finds, what it does not mistake for stale, and what its callers are served.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachesweeper_core::blocking::{Page, Sweeper};
use cachesweeper_core::{Clock, Dependencies, Error, Micros, Outcome, Reason, RecordKey, Rendered, Stats, TagSettings, Tags};
use support::{Article, Comment, Hand, World, graph, logs, render};

type Never = std::convert::Infallible;

/// From the first look at a suspect to the one that counts.
const LATER: Duration = Duration::from_secs(61);

fn key(id: i64) -> RecordKey {
    RecordKey::new("comment", id)
}

/// `verified`, `stale`, and what is told of the others: void, suspected, not deterministic.
fn counted(stats: Stats) -> [u64; 5] {
    [stats.verified, stats.stale, stats.verify_void, stats.verify_suspected, stats.verify_nondeterministic]
}

#[test]
fn a_rate_that_is_no_share_is_refused() {
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let built = Sweeper::builder().memory(1 << 20).graph(graph()).verify(rate).build();
        assert!(matches!(built, Err(Error::Config(message)) if message.contains("verify")), "{rate}");
    }
}

#[test]
fn a_stale_fragment_is_found_reported_and_gone() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let secret = "z".repeat(500);
    // The write went past everything: nothing was invalidated.
    render(&sweeper, key(1), &format!("<p>old</p>{secret}"));
    let fresh = format!("<p>new</p>{secret}");
    let first = logs::capture(|| {
        let served = render(&sweeper, key(1), &fresh);
        assert_eq!((&*served, served.outcome(), served.outcome().word()), (&*fresh, Outcome::Corrected, "hit"));
    });
    assert!(first.contains("WARN") && !first.contains("ERROR"), "{first}");
    assert_eq!(counted(sweeper.stats()), [0, 0, 0, 1, 0], "one difference proves nothing");

    // What the store had is gone already, so nobody else is served it.
    assert_eq!(render(&sweeper, key(1), &fresh).outcome(), Outcome::Miss);
    world.clock.advance(LATER);
    let second = logs::capture(|| assert_eq!(render(&sweeper, key(1), &fresh).outcome(), Outcome::Hit));
    assert_eq!(counted(sweeper.stats()), [1, 1, 0, 1, 0]);
    for told in ["ERROR", "t/f/f/~/comment:1", "stamp=", "tokens_read_at=", "on=\"comment:1\"", "at=3", "<p>old", "<p>new"] {
        assert!(second.contains(told), "{told} is missing in {second}");
    }
    assert!(!second.contains(&secret), "no whole bodies in logs: {second}");

    assert_eq!(render(&sweeper, key(1), &fresh).outcome(), Outcome::Hit);
    assert_eq!(counted(sweeper.stats()), [2, 1, 0, 1, 0], "it is found once");
}

/// A clock with loaded dice.
#[derive(Debug)]
struct Loaded(Hand, AtomicBool);

impl Clock for Loaded {
    fn now(&self) -> Micros {
        self.0.now()
    }

    fn random(&self) -> u64 {
        let low = self.0.random() >> 1;
        if self.1.load(Ordering::SeqCst) { low } else { u64::MAX - low }
    }
}

#[test]
fn a_suspect_is_looked_at_again_for_certain_and_not_too_soon() {
    let clock = Arc::new(Loaded(Hand::default(), AtomicBool::new(true)));
    let sweeper = Sweeper::builder().memory(1 << 20).clock(clock.clone()).graph(graph()).verify(0.5).build().unwrap();
    render(&sweeper, key(1), "old");
    assert_eq!(render(&sweeper, key(1), "new").outcome(), Outcome::Corrected);
    render(&sweeper, key(1), "new");
    render(&sweeper, key(1), "new");
    assert_eq!(counted(sweeper.stats()), [0, 0, 1, 1, 0], "too soon: a clock on the page may not have moved yet");

    clock.1.store(false, Ordering::SeqCst);
    render(&sweeper, key(1), "new");
    assert_eq!(counted(sweeper.stats()), [0, 0, 1, 1, 0], "not drawn");
    clock.0.advance(LATER);
    render(&sweeper, key(1), "new");
    assert_eq!(counted(sweeper.stats()), [1, 1, 1, 1, 0], "not drawn either, but a suspect");
}

#[test]
fn output_that_is_different_each_time_is_not_stale() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let renders = Cell::new(0);
    let random = |id: i64| {
        let fragment = sweeper.fragment(key(id), "random").get_or_render(|| {
            renders.set(renders.get() + 1);
            Ok::<_, Never>(format!("<p>{}</p>", renders.get()))
        });
        fragment.unwrap()
    };
    random(1);
    random(2);
    assert_eq!([random(1).outcome(), random(2).outcome()], [Outcome::Corrected; 2]);
    assert_eq!(random(1).outcome(), Outcome::Miss);
    let log = logs::capture(|| assert_eq!(random(1).outcome(), Outcome::Corrected));
    assert!(log.contains("WARN") && log.contains("each time") && !log.contains("ERROR"), "{log}");
    assert_eq!(counted(sweeper.stats()), [0, 0, 0, 2, 2], "all suspects of that name are cleared");

    // From now on it is left alone, like any fragment.
    random(1);
    let before = renders.get();
    for _ in 0..5 {
        assert_eq!(random(1).outcome(), Outcome::Hit);
    }
    assert_eq!((renders.get(), counted(sweeper.stats())), (before, [0, 0, 0, 2, 2]));
}

#[test]
fn a_clock_that_shows_minutes_is_not_stale() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let now = || format!("{} minutes", world.clock.now().0 / 60_000_000);
    let page = || render(&sweeper, key(1), &now());
    page();
    for _ in 0..40 {
        world.clock.advance(Duration::from_secs(7));
        page();
    }
    let stats = counted(sweeper.stats());
    assert_eq!((stats[1], stats[4]), (0, 1), "{stats:?}");
}

#[test]
fn a_write_between_hit_and_render_makes_the_comparison_void() {
    let world = World::new();
    let (sweeper, writer) = (world.verifying(1.0), world.process());
    for ends in [true, false] {
        render(&sweeper, key(1), "old");
        let served = sweeper.fragment(key(1), "f").get_or_render(|| {
            let mark = writer.mark(&[key(1)]).unwrap();
            if ends {
                writer.release(&mark);
            }
            Ok::<_, Never>("new")
        });
        // It was valid when it was looked up.
        assert_eq!((&*served.unwrap(), sweeper.stats().stale), ("old", 0));
        world.clock.advance(Duration::from_secs(12));
    }
    assert_eq!(counted(sweeper.stats()), [0, 0, 2, 0, 0]);
    // A suspect whose record changes stays undecided.
    render(&sweeper, key(2), "old");
    render(&sweeper, key(2), "new");
    writer.invalidate_records(&[key(2)]);
    world.clock.advance(LATER);
    render(&sweeper, key(2), "new");
    render(&sweeper, key(2), "new");
    assert_eq!(counted(sweeper.stats()), [1, 0, 2, 1, 0]);
}

#[test]
fn an_eviction_or_a_refill_meanwhile_changes_no_token() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    render(&sweeper, key(1), "same");
    let evicted = sweeper.fragment(key(1), "f").get_or_render(|| {
        world.store.evict("t/f/f/~/comment:1");
        Ok::<_, Never>("same")
    });
    assert_eq!((evicted.unwrap().outcome(), sweeper.stats().verified), (Outcome::Hit, 1));
}

#[test]
fn at_rate_zero_nothing_is_rendered_and_at_one_everything() {
    let world = World::new();
    for (rate, renders) in [(0.0, 0), (1.0, 20)] {
        let (sweeper, key) = (world.verifying(rate), key(renders));
        let renders = u64::try_from(renders).unwrap();
        render(&sweeper, &key, "x");
        let (count, batches) = (Cell::new(0), world.store.batch_count());
        for _ in 0..20 {
            let served = sweeper.fragment(&key, "f").get_or_render(|| {
                count.set(count.get() + 1);
                Ok::<_, Never>("x")
            });
            assert_eq!(served.unwrap().outcome(), Outcome::Hit);
        }
        assert_eq!((count.get(), sweeper.stats().verified), (renders, renders));
        assert_eq!(world.store.batch_count() - batches, 20 + usize::try_from(renders).unwrap(), "one lookup more for each");
    }
}

/// A clock with random numbers that deserve the name.
#[derive(Debug)]
struct Dice(Hand, Mutex<fastrand::Rng>);

impl Clock for Dice {
    fn now(&self) -> Micros {
        self.0.now()
    }

    fn random(&self) -> u64 {
        self.1.lock().unwrap().u64(..)
    }
}

#[test]
fn the_rate_is_met() {
    let clock = Arc::new(Dice(Hand::default(), Mutex::new(fastrand::Rng::with_seed(7))));
    let sweeper = Sweeper::builder().memory(1 << 20).clock(clock).graph(graph()).verify(0.05).build().unwrap();
    for _ in 0..20_001 {
        render(&sweeper, key(1), "x");
    }
    // 1,000 expected; the standard deviation is 31, and the seed is fixed.
    assert!((850..1_150).contains(&sweeper.stats().verified), "{:?}", sweeper.stats());
    assert_eq!(sweeper.stats().hits, 20_000);
}

#[test]
fn a_closure_that_fails_or_panics_while_it_verifies_fails_no_hit() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    render(&sweeper, key(1), "x");
    let served = sweeper.fragment(key(1), "f").get_or_render(|| Err::<String, _>("the database is gone")).unwrap();
    assert_eq!((&*served, served.outcome()), ("x", Outcome::Hit));
    assert_eq!(counted(sweeper.stats()), [0, 0, 1, 0, 0]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sweeper.fragment(key(1), "f").get_or_render(|| -> Result<String, Never> { panic!("a bug of the application's") })
    }));
    assert!(panicked.is_err());
    assert_eq!(counted(sweeper.stats()), [0, 0, 2, 0, 0]);
    assert_eq!(render(&sweeper, key(1), "x").outcome(), Outcome::Hit, "nothing is left locked");

    let rows: Vec<Comment> = (0..3).map(|id| Comment(id, "text")).collect();
    sweeper.fragments(&rows, "c").get_or_render(|rows: &[&Comment]| Ok::<_, Never>(vec!["x".into(); rows.len()])).unwrap();
    let served = sweeper.fragments(&rows, "c").get_or_render(|_: &[&Comment]| Err::<Vec<String>, _>("gone")).unwrap();
    assert!(served.iter().all(|one| &**one == "x" && one.outcome() == Outcome::Hit));
    assert_eq!(counted(sweeper.stats())[2], 2 + 3);
}

#[test]
fn of_many_rows_the_drawn_ones_join_the_missing_and_every_piece_finds_its_place() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let rows: Vec<Comment> = [4, 1, 3, 1, 0, 2].map(|id| Comment(id, "text")).to_vec();
    let version = RefCell::new(["old"; 5]);
    let asked = RefCell::new(Vec::new());
    let page = || {
        let pieces = sweeper.fragments(&rows, "c").get_or_render(|rows: &[&Comment]| {
            *asked.borrow_mut() = rows.iter().map(|row| row.0).collect();
            Ok::<_, Never>(rows.iter().map(|row| format!("{}{}", row.0, version.borrow()[row.0 as usize])).collect())
        });
        pieces.unwrap()
    };
    let shown = |pieces: &[Rendered]| pieces.iter().map(ToString::to_string).collect::<Vec<_>>();
    let words = |pieces: &[Rendered]| pieces.iter().map(Rendered::outcome).collect::<Vec<_>>();
    use Outcome::{Corrected, Hit, Miss};

    page();
    assert_eq!(words(&page()), [Hit; 6]);
    assert_eq!(*asked.borrow(), [4, 1, 3, 0, 2], "each once, in the caller's order");
    assert_eq!(counted(sweeper.stats()), [5, 0, 0, 0, 0]);

    // 3 is invalidated as it should be, 1 is changed past everything.
    sweeper.invalidate_records(&[RecordKey::new("comment", 3)]);
    (version.borrow_mut()[3], version.borrow_mut()[1]) = ("new", "new");
    let pieces = page();
    assert_eq!(*asked.borrow(), [4, 1, 3, 0, 2]);
    assert_eq!(shown(&pieces), ["4old", "1new", "3new", "1new", "0old", "2old"]);
    assert_eq!(words(&pieces), [Hit, Corrected, Miss, Corrected, Hit, Hit]);
    assert_eq!(counted(sweeper.stats()), [8, 0, 0, 1, 0]);

    assert_eq!(shown(&page()), shown(&pieces));
    world.clock.advance(LATER);
    assert_eq!(words(&page()), [Hit; 6]);
    assert_eq!(sweeper.stats().stale, 1);
}

#[test]
fn fragments_inside_of_a_render_that_verifies_are_rendered_too() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let renders = Cell::new(0);
    let outer = || {
        let outer = sweeper.fragment(key(1), "outer").get_or_render(|| {
            let inner = sweeper.fragment(key(2), "inner").get_or_render(|| {
                renders.set(renders.get() + 1);
                Ok::<_, Never>(format!("{}", renders.get()))
            });
            Ok::<_, Never>(format!("<div>{}</div>", inner.unwrap()))
        });
        outer.unwrap().outcome()
    };
    assert_eq!(outer(), Outcome::Miss);
    assert_eq!((outer(), renders.get()), (Outcome::Corrected, 2));
    // Here the inner one is a hit that is verified itself, the outer a miss.
    outer();
    world.clock.advance(LATER);
    for _ in 0..6 {
        outer();
    }
    let stats = sweeper.stats();
    assert_eq!((stats.stale, stats.bypasses_verifying > 0), (0, true), "an inner fragment of chance does not make the outer stale");
    assert!(stats.verify_nondeterministic >= 1, "{stats:?}");

    // A whole page of nothing but equals stays storable and verified.
    let nested = || {
        let outer = sweeper.fragment(key(3), "calm outer").get_or_render(|| {
            let inner = sweeper.fragment(key(4), "calm inner").get_or_render(|| Ok::<_, Never>("inner"));
            Ok::<_, Never>(format!("<div>{}</div>", inner.unwrap()))
        });
        outer.unwrap().outcome()
    };
    let before = sweeper.stats().verified;
    assert_eq!([nested(), nested(), nested()], [Outcome::Miss, Outcome::Hit, Outcome::Hit]);
    assert_eq!(sweeper.stats().verified - before, 2);
}

#[test]
fn what_is_no_hit_is_not_verified() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    render(&sweeper, key(1), "x");
    let (renders, mark) = (Cell::new(0), sweeper.mark(&[key(1)]).unwrap());
    let stale = || {
        let fragment = sweeper.fragment(key(1), "f").serve_stale(Duration::from_secs(60));
        let served = fragment.get_or_render(|| {
            renders.set(renders.get() + 1);
            Ok::<_, Never>("y")
        });
        served.unwrap().outcome()
    };
    assert_eq!((stale(), renders.get()), (Outcome::Stale, 0));
    sweeper.release(&mark);
    render(&sweeper, key(1), "x");
    let pending = cachesweeper_core::face::Face::changes_pending(&sweeper);
    assert_eq!(render(&sweeper, key(1), "y").outcome(), Outcome::Bypass(Reason::InTransaction));
    drop(pending);
    assert_eq!(counted(sweeper.stats()), [0; 5]);
}

#[test]
fn a_timestamp_row_is_verified_too() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    render(&sweeper, Article(1, 100), "old");
    // A child was written, and its parent not touched.
    assert_eq!(render(&sweeper, Article(1, 100), "new").outcome(), Outcome::Corrected);
    render(&sweeper, Article(1, 100), "new");
    world.clock.advance(LATER);
    render(&sweeper, Article(1, 100), "new");
    assert_eq!(counted(sweeper.stats()), [1, 1, 0, 1, 0]);
}

#[test]
fn a_store_that_fails_meanwhile_makes_the_comparison_void() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    render(&sweeper, key(1), "old");
    let served = sweeper.fragment(key(1), "f").get_or_render(|| {
        world.store.down.store(true, Ordering::SeqCst);
        Ok::<_, Never>("new")
    });
    assert_eq!((&*served.unwrap(), counted(sweeper.stats())), ("old", [0, 0, 1, 0, 0]));
}

// ---- tags ----

fn tag(page: &Page, on: impl Dependencies, body: &mut dyn FnMut() -> String) -> Rendered {
    let settings = TagSettings { name: "c".into(), ttl: None, vary: vec![] };
    let mut dependencies = Vec::new();
    on.collect_into(&mut dependencies);
    page.tag(dependencies, settings, &mut || Ok(body())).unwrap()
}

fn page_of(sweeper: &Sweeper, row: &Comment, body: &str) -> Outcome {
    let page = sweeper.page();
    page.prefetch(std::slice::from_ref(row), "c");
    let rendered = tag(&page, row, &mut || body.to_owned());
    if rendered.outcome() != Outcome::Unstorable {
        let again = tag(&page, row, &mut || unreachable!("a second tag shows the same"));
        assert_eq!(rendered, String::from(again));
    }
    page.finish();
    rendered.outcome()
}

#[test]
fn tags_are_verified_when_their_page_is_finished() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let row = Comment(1, "text");
    page_of(&sweeper, &row, "old");
    world.clock.advance(Duration::from_secs(12));
    assert_eq!(page_of(&sweeper, &row, "old"), Outcome::Miss);
    assert_eq!(
        (page_of(&sweeper, &row, "old"), sweeper.stats().verified),
        (Outcome::Hit, 0),
        "its tokens may be newer than the page's data"
    );
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((page_of(&sweeper, &row, "old"), sweeper.stats().verified), (Outcome::Hit, 1));

    assert_eq!(page_of(&sweeper, &row, "new"), Outcome::Corrected);
    assert_eq!(page_of(&sweeper, &row, "new"), Outcome::Miss);
    world.clock.advance(LATER);
    assert_eq!(page_of(&sweeper, &row, "new"), Outcome::Hit);
    assert_eq!(counted(sweeper.stats()), [2, 1, 0, 1, 0]);
}

#[test]
fn a_tag_that_a_write_overtakes_is_void_and_a_page_that_is_not_finished_too() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let row = Comment(1, "text");
    render(&sweeper, key(9), "x");
    for _ in 0..2 {
        page_of(&sweeper, &row, "old");
        world.clock.advance(Duration::from_secs(12));
    }
    let page = sweeper.page();
    page.prefetch(std::slice::from_ref(&row), "c");
    sweeper.invalidate_records(&[key(1)]);
    assert_eq!(tag(&page, &row, &mut || "new".into()).outcome(), Outcome::Corrected);
    page.finish();
    assert_eq!(counted(sweeper.stats()), [0, 0, 1, 0, 0]);

    world.clock.advance(Duration::from_secs(12));
    page_of(&sweeper, &row, "new");
    world.clock.advance(Duration::from_secs(12));
    let page = sweeper.page();
    page.prefetch(std::slice::from_ref(&row), "c");
    tag(&page, &row, &mut || "new".into());
    drop(page);
    assert_eq!(counted(sweeper.stats()), [0, 0, 2, 0, 0]);
}

#[test]
fn a_tag_whose_body_fails_while_it_verifies_shows_what_the_store_had() {
    let world = World::new();
    let sweeper = world.verifying(1.0);
    let row = Comment(1, "text");
    for _ in 0..2 {
        page_of(&sweeper, &row, "old");
        world.clock.advance(Duration::from_secs(12));
    }
    let page = sweeper.page();
    page.prefetch(std::slice::from_ref(&row), "c");
    let settings = TagSettings { name: "c".into(), ttl: None, vary: vec![] };
    let mut on = Vec::new();
    row.collect_into(&mut on);
    let shown = page.tag(on, settings, &mut || Err("a misspelt variable".into())).unwrap();
    page.finish();
    assert_eq!((&*shown, shown.outcome(), counted(sweeper.stats())), ("old", Outcome::Hit, [0, 0, 1, 0, 0]));
}

// ---- async ----

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::*;
    use cachesweeper_core::Sweeper;

    fn sweeper() -> (Sweeper, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let builder = Sweeper::builder().memory(1 << 20).clock(clock.clone()).graph(graph());
        (builder.verify(1.0).build().unwrap(), clock)
    }

    async fn render(sweeper: &Sweeper, on: impl Dependencies, body: &str) -> Rendered {
        sweeper.fragment(on, "f").get_or_render(async || Ok::<_, Never>(body.to_owned())).await.unwrap()
    }

    #[tokio::test]
    async fn stale_and_random_fragments_are_told_apart() {
        let (sweeper, clock) = sweeper();
        render(&sweeper, key(1), "old").await;
        let served = render(&sweeper, key(1), "new").await;
        assert_eq!((&*served, served.outcome()), ("new", Outcome::Corrected));
        assert_eq!(render(&sweeper, key(1), "new").await.outcome(), Outcome::Miss);
        clock.advance(LATER);
        assert_eq!(render(&sweeper, key(1), "new").await.outcome(), Outcome::Hit);
        assert_eq!(counted(sweeper.stats()), [1, 1, 0, 1, 0]);

        for body in 0..4 {
            let fragment = sweeper.fragment(key(2), "random");
            fragment.get_or_render(async || Ok::<_, Never>(body.to_string())).await.unwrap();
        }
        assert_eq!(counted(sweeper.stats()), [1, 1, 0, 2, 1]);
    }

    #[tokio::test]
    async fn races_failures_and_callers_that_go_away_are_void() {
        let (sweeper, _) = sweeper();
        render(&sweeper, key(1), "old").await;
        let raced = sweeper.fragment(key(1), "f").get_or_render(async || {
            cachesweeper_core::face::Face::invalidate_records(&sweeper, &[key(1)]).await;
            Ok::<_, Never>("new")
        });
        assert_eq!(&*raced.await.unwrap(), "old");
        assert_eq!(counted(sweeper.stats()), [0, 0, 1, 0, 0]);

        render(&sweeper, key(1), "new").await;
        let failed = sweeper.fragment(key(1), "f").get_or_render(async || Err::<String, _>("gone")).await;
        assert_eq!((&*failed.unwrap(), counted(sweeper.stats())), ("new", [0, 0, 2, 0, 0]));

        let left = sweeper.fragment(key(1), "f").get_or_render(async || {
            std::future::pending::<()>().await;
            Ok::<_, Never>("never")
        });
        assert!(tokio::time::timeout(Duration::from_millis(5), left).await.is_err());
        assert_eq!(counted(sweeper.stats()), [0, 0, 3, 0, 0]);
    }

    #[tokio::test]
    async fn many_rows_keep_their_places() {
        let (sweeper, _) = sweeper();
        let rows: Vec<Comment> = [4, 1, 3, 1, 0, 2].map(|id| Comment(id, "text")).to_vec();
        let version = RefCell::new(["old"; 5]);
        let page = async || {
            let pieces = sweeper.fragments(&rows, "c").get_or_render(async |rows: &[&Comment]| {
                Ok::<_, Never>(rows.iter().map(|row| format!("{}{}", row.0, version.borrow()[row.0 as usize])).collect())
            });
            pieces.await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        page().await;
        cachesweeper_core::face::Face::invalidate_records(&sweeper, &[key(3)]).await;
        (version.borrow_mut()[3], version.borrow_mut()[1]) = ("new", "new");
        assert_eq!(page().await, ["4old", "1new", "3new", "1new", "0old", "2old"]);
        assert_eq!(counted(sweeper.stats()), [3, 0, 0, 1, 0]);
        let failed = sweeper.fragments(&rows[..1], "c").get_or_render(async |_: &[&Comment]| Err::<Vec<String>, _>("gone")).await;
        assert_eq!(&*failed.unwrap()[0], "4old");
    }

    #[tokio::test]
    async fn tags_are_verified_by_the_async_page_too() {
        let (sweeper, clock) = sweeper();
        let row = Comment(1, "text");
        let page_of = async |body: &str| {
            let page = sweeper.page();
            page.prefetch(std::slice::from_ref(&row), "c").await.unwrap();
            let settings = TagSettings { name: "c".into(), ttl: None, vary: vec![] };
            let mut on = Vec::new();
            row.collect_into(&mut on);
            let outcome = page.tag(on, settings, &mut || Ok(body.to_owned())).unwrap().outcome();
            page.finish().await;
            clock.advance(Duration::from_secs(1));
            outcome
        };
        page_of("old").await;
        assert_eq!(page_of("old").await, Outcome::Miss);
        assert_eq!(page_of("old").await, Outcome::Hit);
        assert_eq!(page_of("new").await, Outcome::Corrected);
        assert_eq!(page_of("new").await, Outcome::Miss);
        clock.advance(LATER);
        assert_eq!(page_of("new").await, Outcome::Hit);
        assert_eq!(counted(sweeper.stats()), [2, 1, 0, 1, 0]);
    }
}
