//! Bodies that a process keeps beside the store: less on the wire, and nothing else is shown.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::store::Action;
use cachesweeper_core::{Outcome, RecordKey};
use support::{Article, Comment, World, render, word};

type Never = std::convert::Infallible;

fn comment() -> RecordKey {
    RecordKey::new("comment", 1)
}

/// What the last batch has read.
fn last_read(world: &World) -> Vec<String> {
    let batches = world.store.batches.lock().unwrap();
    let last = batches.last().unwrap();
    assert!(last.iter().all(|op| op.action == Action::Get), "{last:?}");
    last.iter().map(|op| op.key.to_string()).collect()
}

fn near_hits(sweeper: &Sweeper) -> (u64, u64) {
    (sweeper.stats().hits, sweeper.stats().near_hits)
}

#[test]
fn what_is_kept_costs_its_versions_only() {
    let world = World::new();
    let sweeper = world.near();
    assert_eq!(render(&sweeper, comment(), "x").outcome(), Outcome::Miss);
    let hit = render(&sweeper, comment(), "never rendered");
    assert_eq!((hit.as_str(), hit.outcome()), ("x", Outcome::Hit), "a fill is kept");
    assert_eq!(last_read(&world), ["t/t/comment:1", "t/b"], "log and marker");
    assert_eq!(near_hits(&sweeper), (1, 1));
    // Another process's body is kept once it was read.
    let other = world.near();
    assert_eq!(word(&other, comment()), "hit");
    assert_eq!(last_read(&world).len(), 3);
    assert_eq!(word(&other, comment()), "hit");
    assert_eq!(last_read(&world).len(), 2);
    assert_eq!(near_hits(&other), (2, 1));
}

#[test]
fn what_is_invalidated_is_not_shown_and_is_fetched_if_another_process_has_it() {
    let world = World::new();
    let (sweeper, other) = (world.near(), world.process());
    render(&sweeper, comment(), "old");
    other.invalidate_records(&[comment()]);
    assert_eq!(render(&other, comment(), "new").outcome(), Outcome::Miss);
    let before = world.store.batch_count();
    let hit = render(&sweeper, comment(), "never rendered");
    assert_eq!((hit.as_str(), hit.outcome()), ("new", Outcome::Hit));
    assert_eq!(world.store.batch_count() - before, 2, "the versions, then all of it");
    assert_eq!(near_hits(&sweeper), (1, 0));
    assert_eq!(render(&sweeper, comment(), "never rendered").as_str(), "new");
    assert_eq!(near_hits(&sweeper), (2, 1));

    let mark = other.mark(&[comment()]).unwrap();
    assert_eq!(word(&sweeper, comment()), "bypass", "under a hold nothing is served");
    other.release(&mark);
    assert_eq!(render(&sweeper, comment(), "newer").outcome(), Outcome::Miss);
}

#[test]
fn nothing_of_before_a_restart_is_shown_after_it() {
    let world = World::new();
    let sweeper = world.near();
    render(&sweeper, comment(), "old");
    world.store.restart();
    assert_eq!(word(&sweeper, comment()), "bypass", "the quarantine");
    world.settle(&sweeper);
    assert_eq!(render(&sweeper, comment(), "new").outcome(), Outcome::Miss, "the log is another");
}

#[test]
fn an_evicted_fragment_is_still_near_and_an_evicted_log_takes_it_along() {
    let world = World::new();
    let sweeper = world.near();
    render(&sweeper, comment(), "x");
    world.store.evict("t/f/f/~/comment:1");
    assert_eq!(word(&sweeper, comment()), "hit");
    world.store.evict("t/t/comment:1");
    assert_eq!(word(&sweeper, comment()), "miss");
}

#[test]
fn a_fragment_lives_no_longer_here_than_in_the_store() {
    let world = World::new();
    let sweeper = world.near();
    let get = || {
        let fragment = sweeper.fragment(comment(), "f").ttl(Duration::from_secs(60));
        fragment.get_or_render(|| Ok::<_, Never>("x")).unwrap().outcome()
    };
    assert_eq!((get(), get()), (Outcome::Miss, Outcome::Hit));
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(get(), Outcome::Hit);
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(get(), Outcome::Miss);
}

#[test]
fn rows_in_hand_are_told_apart() {
    let world = World::new();
    let sweeper = world.near();
    let get = |comment: &Comment| sweeper.fragment(comment, "f").get_or_render(|| Ok::<_, Never>(comment.1)).unwrap();
    assert_eq!(get(&Comment(1, "a")).outcome(), Outcome::Miss);
    assert_eq!(get(&Comment(1, "b")).as_str(), "b", "not the body of another copy of the row");
    assert_eq!(get(&Comment(1, "b")).outcome(), Outcome::Hit);
    let stamped = |article: &Article| sweeper.fragment(article, "f").get_or_render(|| Ok::<_, Never>(article.1.to_string())).unwrap();
    assert_eq!((&*stamped(&Article(1, 7)), &*stamped(&Article(1, 7)), &*stamped(&Article(1, 8))), ("7", "7", "8"));
    assert_eq!(stamped(&Article(1, 8)).outcome(), Outcome::Hit);
    assert_eq!(last_read(&world), ["t/b"], "its version is in the row");
}

#[test]
fn many_fragments_are_fetched_as_far_as_they_are_not_near() {
    let world = World::new();
    let sweeper = world.near();
    let rows: Vec<Comment> = (1..=3).map(|id| Comment(id, "text")).collect();
    let get = |rows: &[Comment]| {
        let served = sweeper.fragments(rows, "f").get_or_render(|missing| Ok::<_, Never>(vec!["x".to_owned(); missing.len()])).unwrap();
        served.iter().map(|served| served.outcome().word()).collect::<Vec<_>>()
    };
    assert_eq!(get(&rows[..2]), ["miss", "miss"]);
    assert_eq!(get(&rows), ["hit", "hit", "miss"]);
    assert_eq!(near_hits(&sweeper), (2, 2));
    assert_eq!(get(&rows), ["hit"; 3]);
    assert_eq!(last_read(&world), ["t/t/comment:1", "t/t/comment:2", "t/t/comment:3", "t/b"]);
    // One that has changed: everything is read again, at once.
    sweeper.invalidate_records(&[RecordKey::new("comment", 2)]);
    assert_eq!(get(&rows), ["hit", "miss", "hit"]);
}

#[test]
fn what_a_verification_found_stale_is_forgotten_here_too() {
    let world = World::new();
    world.warm();
    let sweeper = world.build(|builder| builder.near_cache(1 << 20).verify(1.0));
    render(&sweeper, comment(), "had");
    world.clock.advance(Duration::from_secs(30));
    // The row was written past the hooks: its version is what it was.
    let corrected = render(&sweeper, comment(), "has");
    assert_eq!((corrected.as_str(), corrected.outcome()), ("has", Outcome::Corrected));
    let again = render(&sweeper, comment(), "has");
    assert_eq!((again.as_str(), again.outcome()), ("has", Outcome::Miss), "neither the store nor the process has the old one");
}

#[test]
fn memory_is_bounded_and_the_embedded_store_needs_no_second_copy() {
    let world = World::new();
    world.warm();
    let sweeper = world.build(|builder| builder.near_cache(20_000));
    let rows: Vec<Comment> = (1..=100).map(|id| Comment(id, "text")).collect();
    for _ in 0..3 {
        let fragments = sweeper.fragments(&rows, "f");
        fragments.get_or_render(|missing| Ok::<_, Never>(vec!["x".repeat(1_000); missing.len()])).unwrap();
    }
    let (hits, near) = near_hits(&sweeper);
    assert!(hits == 200 && (1..=60).contains(&near), "{near} of {hits}: 20,000 bytes hold 17 of these bodies");

    let embedded = Sweeper::builder().memory(1 << 20).near_cache(1 << 20).graph(support::graph()).build().unwrap();
    render(&embedded, comment(), "x");
    assert_eq!(word(&embedded, comment()), "hit");
    assert_eq!(near_hits(&embedded), (1, 0));
}
