//! How long holds last, and that marking many records, or on a slow store, does not use them up.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::face::Face;
use cachesweeper_core::protocol::{Append, Appended, LogAddress, Rules};
use cachesweeper_core::store::StoreError;
use cachesweeper_core::version::Uid;
use cachesweeper_core::{Config, Error, Mark, Micros, Policy, RecordKey, Tick};
use support::{World, graph, render, word};

fn keys(count: i64) -> Vec<RecordKey> {
    (0..count).map(|id| RecordKey::new("comment", id)).collect()
}

fn left(sweeper: &Sweeper, mark: &Mark) -> Duration {
    mark.deadline().minus(sweeper.now()).into()
}

/// Every exchange takes this long.
fn slow(world: &World, length: Duration) {
    world.store.slow.store(length.as_micros() as u64, Ordering::SeqCst);
}

#[test]
fn a_mark_that_took_long_is_made_again_so_that_it_covers_the_commit() {
    let world = World::new();
    let (sweeper, reader) = (world.warm(), world.process());
    let key = &keys(1);
    render(&reader, &key[0], "before");
    slow(&world, Duration::from_secs(2));
    let mark = sweeper.mark(key).unwrap();
    slow(&world, Duration::ZERO);
    // Of 3 s it took 2, so there was 1 left.
    assert_eq!((sweeper.stats().renewals, sweeper.stats().marks_late), (1, 0));
    assert_eq!(left(&sweeper, &mark), Duration::from_secs(10 - 2), "the longest hold");
    world.clock.advance(Duration::from_secs(7));
    assert_eq!(word(&reader, &key[0]), "bypass");
    sweeper.release(&mark);
    assert_eq!(&*render(&reader, &key[0], "after"), "after", "both marks are released");
    assert_eq!(word(&reader, &key[0]), "hit");

    slow(&world, Duration::from_secs(1));
    let mark = sweeper.mark(key).unwrap();
    assert_eq!((sweeper.stats().renewals, left(&sweeper, &mark)), (1, Duration::from_secs(2)), "more than half is left");
}

#[test]
fn a_mark_that_cannot_cover_the_commit_is_late_and_refused_under_abort() {
    let world = World::new();
    let (sweeper, key) = (world.warm(), keys(1));
    slow(&world, Duration::from_secs(9));
    let mark = sweeper.mark(&key).unwrap();
    assert_eq!((sweeper.stats().marks_late, left(&sweeper, &mark)), (1, Duration::from_secs(1)));
    slow(&world, Duration::ZERO);
    sweeper.release(&mark);

    let builder = Sweeper::builder().store(world.store.clone()).clock(world.clock.clone()).graph(graph()).namespace("t");
    let strict = builder.policy(Policy::Abort).build().unwrap();
    assert_eq!(word(&sweeper, &key[0]), "miss");
    slow(&world, Duration::from_secs(9));
    let Err(Error::Refused { record, cause }) = strict.mark(&key) else { panic!("it was late") };
    assert!(record.ends_with("comment:0") && cause.to_string().contains("took 9s"), "{record}: {cause}");
    slow(&world, Duration::ZERO);
    assert_eq!((strict.stats().writes_refused, word(&sweeper, &key[0])), (1, "miss"), "what could be marked is given back");
}

#[test]
fn many_records_are_written_in_batches_of_a_bounded_size_under_one_mark_and_the_longest_hold() {
    let world = World::new();
    let (sweeper, reader) = (world.warm(), world.process());
    let keys = keys(25_000);
    let (first, last) = (&keys[0], &keys[24_999]);
    for key in [first, last] {
        render(&reader, key, "before");
    }
    let before = world.store.batch_count();
    let mark = sweeper.mark(&keys).unwrap();
    {
        let batches = world.store.batches.lock().unwrap();
        assert_eq!(batches.len() - before, 3);
        assert!(batches.iter().all(|batch| batch.len() <= 3 * 10_000));
    }
    assert_eq!((mark.uids().len(), left(&sweeper, &mark)), (1, Duration::from_secs(10)));
    world.clock.advance(Duration::from_secs(9));
    assert_eq!([word(&reader, first), word(&reader, last)], ["bypass"; 2]);
    let before = world.store.batch_count();
    sweeper.release(&mark);
    assert_eq!(world.store.batch_count() - before, 3);
    assert_eq!([word(&reader, first), word(&reader, last)], ["miss"; 2]);

    sweeper.invalidate_records(&keys);
    assert_eq!([word(&reader, first), word(&reader, last)], ["miss"; 2]);
    assert_eq!(sweeper.mark(&keys[..10_000]).unwrap().deadline().minus(sweeper.now()), Micros(3_000_000), "one batch: the usual hold");
}

#[test]
fn what_could_not_be_marked_of_many_is_owed_record_by_record() {
    let world = World::new();
    let (sweeper, keys) = (world.warm(), keys(12_000));
    world.store.down.store(true, Ordering::SeqCst);
    let mark = sweeper.mark(&keys).unwrap();
    assert_eq!((sweeper.stats().marks_failed, mark.logs().1.len()), (12_000, 12_000));
}

#[test]
fn parts_keep_their_places() {
    let rules = Rules::new(&Config::default(), cachesweeper_core::store::Store::info(&*World::new().store));
    let logs: Vec<LogAddress> = (0..5).map(|id| LogAddress { node: 0, key: format!("k{id}").into() }).collect();
    let mark = Append::mark(rules, logs, Uid::new(Tick { now: Micros(1), random: 1 }), Micros(2));
    let mut all = Appended::default();
    for (first, _) in mark.in_parts(2) {
        all.add(first, Appended { failed: vec![(0, StoreError::refused("a:1", "no"))], compactions: vec![] });
    }
    assert_eq!(all.failed.iter().map(|(log, _)| *log).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(Append::mark(rules, vec![], Uid::new(Tick { now: Micros(1), random: 1 }), Micros(2)).in_parts(2).count(), 0);
}

#[test]
fn a_hold_is_renewed_by_its_own_age_and_not_by_that_of_the_commit() {
    let world = World::new();
    let sweeper = world.warm();
    slow(&world, Duration::from_secs(1));
    let mark = sweeper.mark(&keys(1)).unwrap();
    // 2 s are left, so half of the hold in half a second.
    assert_eq!(mark.renew_in(Micros(3_000_000), sweeper.now()), Micros(500_000));
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(mark.renew_in(Micros(3_000_000), sweeper.now()), Micros(375_000), "never at once again and again");
}
