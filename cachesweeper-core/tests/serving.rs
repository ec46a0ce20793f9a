//! What is served, and what is stored, on a remote store with a clock that is moved by hand.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cachesweeper_core::version::VersionLog;
use cachesweeper_core::{CacheSweep, Outcome, Reason, RecordKey};
use support::{Article, Comment, World, render, word};

type Never = std::convert::Infallible;

#[test]
fn a_new_store_is_bypassed_until_every_hold_that_it_may_have_forgotten_is_over() {
    let world = World::new();
    let sweeper = world.process();
    let key = RecordKey::new("comment", 1);
    assert_eq!(render(&sweeper, &key, "x").outcome(), Outcome::Bypass(Reason::Quarantine), "no marker");
    assert_eq!(word(&sweeper, &key), "bypass", "a bare marker");
    world.clock.advance(Duration::from_millis(10_900));
    assert_eq!(word(&sweeper, &key), "bypass", "the quarantine");
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
}

#[test]
fn a_restart_resurrects_nothing() {
    let world = World::new();
    let (writer, reader) = (world.warm(), world.process());
    let key = RecordKey::new("comment", 1);
    render(&reader, &key, "before");
    let mark = writer.mark(std::slice::from_ref(&key)).unwrap();
    world.store.restart();
    for _ in 0..20 {
        // The restart swallowed the hold; nothing is stored until it is over.
        assert_eq!(word(&reader, &key), "bypass");
        world.clock.advance(Duration::from_millis(400));
    }
    writer.release(&mark);
    world.settle(&reader);
    assert_eq!(word(&reader, &key), "miss");
}

#[test]
fn strict_mode_bypasses_a_new_log_until_every_hold_that_an_evicted_one_may_have_had_is_over() {
    let world = World::new();
    let sweeper = world.strict();
    world.settle(&sweeper);
    let key = RecordKey::new("comment", 1);
    assert_eq!(render(&sweeper, &key, "x").outcome(), Outcome::Bypass(Reason::Adopted), "the log was added, and seen");
    world.clock.advance(Duration::from_millis(10_900));
    assert_eq!(word(&sweeper, &key), "bypass");
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
    sweeper.invalidate_records(std::slice::from_ref(&key));
    assert_eq!(word(&sweeper, &key), "miss", "a log that stays needs to wait only once");
    for _ in 0..12 {
        sweeper.invalidate_records(std::slice::from_ref(&key));
    }
    assert_eq!(word(&sweeper, &key), "miss", "nor does its compaction");
    assert!(world.store.get("t/t/comment:1").unwrap().len() < VersionLog::COMPACT_ABOVE);
    assert_eq!(word(&sweeper, &key), "hit");
}

#[test]
fn strict_mode_keeps_a_dead_writers_commit_although_the_store_evicts_its_hold() {
    let world = World::new();
    let key = RecordKey::new("comment", 1);
    for (strict, seen) in [(false, "before"), (true, "after")] {
        let (writer, reader) = if strict { (world.strict(), world.strict()) } else { (world.warm(), world.process()) };
        for _ in 0..3 {
            render(&reader, &key, "before");
            world.clock.advance(Duration::from_secs(12));
        }
        drop(writer.mark(std::slice::from_ref(&key)).unwrap());
        world.store.evict("t/t/comment:1");
        // A reader whose data are from before the COMMIT; then the writer commits, and dies.
        render(&reader, &key, "before");
        drop(writer);
        assert_eq!(&*render(&reader, &key, "after"), seen, "strict: {strict}");
        world.store.evict("t/t/comment:1");
    }
}

#[test]
fn readers_bypass_from_mark_to_release_and_never_see_the_old_fragment_again() {
    let world = World::new();
    let (writer, reader) = (world.warm(), world.process());
    let key = RecordKey::new("comment", 1);
    render(&reader, &key, "before");
    assert_eq!(word(&reader, &key), "hit");
    let mark = writer.mark(std::slice::from_ref(&key)).unwrap();
    assert_eq!(render(&reader, &key, "before").outcome(), Outcome::Bypass(Reason::Held));
    writer.release(&mark);
    assert_eq!(&*render(&reader, &key, "after"), "after");
    assert_eq!(&*render(&reader, &key, "never"), "after");
}

#[test]
fn a_writer_that_dies_holds_until_its_deadline_and_its_write_is_seen_after() {
    let world = World::new();
    let (writer, reader) = (world.warm(), world.process());
    let key = RecordKey::new("comment", 1);
    render(&reader, &key, "before");
    drop(writer.mark(std::slice::from_ref(&key)).unwrap());
    drop(writer);
    world.clock.advance(Duration::from_millis(3_400));
    assert_eq!(word(&reader, &key), "bypass", "3 s and the skew");
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(&*render(&reader, &key, "after"), "after");
}

#[test]
fn an_evicted_log_makes_a_miss_and_an_evicted_fragment_too() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    render(&sweeper, &key, "x");
    world.store.evict("t/t/comment:1");
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
    world.store.evict("t/f/f/~/comment:1");
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
}

#[test]
fn the_row_in_hand_counts() {
    let world = World::new();
    let sweeper = world.warm();
    render(&sweeper, Comment(1, "old"), "old");
    assert_eq!(word(&sweeper, Comment(1, "old")), "hit");
    assert_eq!(&*render(&sweeper, Comment(1, "new"), "new"), "new", "a change of the row is noticed without any hook");
    assert_eq!(word(&sweeper, RecordKey::new("comment", 1)), "miss", "by key alone it is another fragment");
}

#[test]
fn a_timestamp_record_keeps_nothing_in_the_store_but_fragments() {
    let world = World::new();
    let sweeper = world.warm();
    render(&sweeper, Article(1, 100), "x");
    assert_eq!(word(&sweeper, Article(1, 100)), "hit");
    assert!(world.store.get("t/t/article:1").is_none());
    assert_eq!(word(&sweeper, Article(1, 101)), "miss");
    assert_eq!(render(&sweeper, RecordKey::new("article", 1), "x").outcome(), Outcome::Bypass(Reason::KeyOfTimestampRecord));
    assert_eq!(render(&sweeper, (), "x").outcome(), Outcome::Bypass(Reason::NoDependency));
}

#[test]
fn a_fragment_of_several_records_goes_with_each_of_them() {
    let world = World::new();
    let sweeper = world.warm();
    let (a, b) = (RecordKey::new("comment", 1), RecordKey::new("comment", 2));
    let on = || (&a, [&b], Some(Article(1, 5)), vec![Comment(3, "c")]);
    for changed in [a.clone(), b.clone(), Comment(3, "c").record_key()] {
        render(&sweeper, on(), "x");
        assert_eq!(word(&sweeper, on()), "hit");
        sweeper.invalidate_records(&[changed]);
        assert_eq!(word(&sweeper, on()), "miss");
    }
}

#[test]
fn a_thousand_fragments_are_looked_up_in_one_batch_and_filled_in_one() {
    let world = World::new();
    let sweeper = world.warm();
    let rows: Vec<Comment> = (0..1_000).map(|id| Comment(id, "text")).collect();
    let pieces = |missing: &[&Comment]| Ok::<_, Never>(missing.iter().map(|row| format!("<p>{}</p>", row.0)).collect());
    sweeper.fragments(&rows, "c").get_or_render(pieces).unwrap();
    let before = world.store.batch_count();
    let served = sweeper.fragments(&rows, "c").get_or_render(pieces).unwrap();
    assert_eq!(world.store.batch_count() - before, 1);
    assert!(served.iter().enumerate().all(|(id, one)| one.outcome() == Outcome::Hit && **one == *format!("<p>{id}</p>")));

    sweeper.invalidate_records(&[rows[7].record_key(), rows[500].record_key()]);
    let before = world.store.batch_count();
    let mut asked = Vec::new();
    let served = sweeper.fragments(&rows, "c").get_or_render(|missing: &[&Comment]| {
        asked.extend(missing.iter().map(|row| row.0));
        pieces(missing)
    });
    assert_eq!((asked, served.unwrap().len()), (vec![7, 500], 1_000));
    assert_eq!(world.store.batch_count() - before, 3, "lookup, leases, fills");
}

#[test]
fn a_row_that_is_asked_for_twice_is_rendered_once() {
    let world = World::new();
    let sweeper = world.warm();
    let rows = [Comment(1, "a"), Comment(2, "b"), Comment(1, "a"), Comment(1, "another copy")];
    let mut asked = Vec::new();
    let served = sweeper.fragments(&rows, "c").get_or_render(|missing: &[&Comment]| {
        asked.extend(missing.iter().map(|row| row.1));
        Ok::<_, Never>(missing.iter().map(|row| row.1.to_owned()).collect())
    });
    let served: Vec<String> = served.unwrap().into_iter().map(String::from).collect();
    assert_eq!(asked, ["a", "b", "another copy"]);
    assert_eq!(served, ["a", "b", "a", "another copy"]);
    assert!(!world.store.batches.lock().unwrap().iter().any(|batch| batch.iter().filter(|op| op.key.contains("/l/")).count() > 3));
}

#[test]
fn the_batch_reads_logs_then_fragments_then_the_marker() {
    let world = World::new();
    let sweeper = world.warm();
    word(&sweeper, Comment(1, "x"));
    word(&sweeper, Comment(1, "x"));
    let batches = world.store.batches.lock().unwrap();
    let keys: Vec<&str> = batches.last().unwrap().iter().map(|op| &*op.key).collect();
    assert_eq!(keys, ["t/t/comment:1", "t/f/f/comment:1", "t/b"]);
}

#[test]
fn a_long_log_is_compacted_by_the_next_miss_and_loses_no_open_hold() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    render(&sweeper, &key, "x");
    let log = || world.store.get("t/t/comment:1").unwrap();
    while log().len() <= VersionLog::COMPACT_ABOVE {
        let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
        sweeper.release(&mark);
    }
    let open = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    assert_eq!(word(&sweeper, &key), "bypass");
    assert!(log().len() < VersionLog::COMPACT_ABOVE);
    assert_eq!(word(&sweeper, &key), "bypass", "the open hold is still there");
    sweeper.release(&open);
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
}

#[test]
fn a_log_under_writes_alone_stays_short() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let mut longest = 0;
    for _ in 0..2_000 {
        let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
        sweeper.release(&mark);
        longest = longest.max(world.store.get("t/t/comment:1").unwrap().len());
    }
    assert!(longest < 4_096, "{longest} bytes");
}

#[test]
fn a_log_under_overlapping_writes_stays_short_too() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let (mut longest, mut last) = (0, sweeper.mark(std::slice::from_ref(&key)).unwrap());
    for _ in 0..2_000 {
        // Between a mark and its release there is always another writer's.
        let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
        sweeper.release(&last);
        last = mark;
        longest = longest.max(world.store.get("t/t/comment:1").unwrap().len());
    }
    assert!(longest < 4_096, "{longest} bytes");
    assert_eq!(word(&sweeper, &key), "bypass", "the last hold is open");
    sweeper.release(&last);
    assert_eq!(word(&sweeper, &key), "miss");
}

#[test]
fn a_log_that_is_full_is_replaced_and_keeps_its_open_holds() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    render(&sweeper, &key, "x");
    let open = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    world.store.full.store(true, Ordering::SeqCst);
    let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    assert_eq!(sweeper.stats().marks_failed, 0);
    world.store.full.store(false, Ordering::SeqCst);
    sweeper.release(&mark);
    assert_eq!(word(&sweeper, &key), "bypass", "the other writer's hold");
    sweeper.release(&open);
    assert_eq!(word(&sweeper, &key), "miss");
    assert_eq!(word(&sweeper, &key), "hit");
    world.store.full.store(true, Ordering::SeqCst);
    sweeper.invalidate_records(std::slice::from_ref(&key));
    world.store.full.store(false, Ordering::SeqCst);
    assert_eq!(word(&sweeper, &key), "miss", "an invalidation arrives, whatever it takes");
}

#[test]
fn whatever_lies_under_our_keys_is_a_miss_at_worst() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    for garbage in [&b""[..], b"=", b"=short", &[0xFF; 300], b"+++++++++++++++++++++++++"] {
        render(&sweeper, &key, "x");
        world.store.set("t/t/comment:1", garbage);
        assert_eq!(word(&sweeper, &key), "bypass", "{garbage:?} as a log may have holds in it");
        world.clock.advance(Duration::from_millis(11_100));
        assert_eq!(word(&sweeper, &key), "miss", "it was replaced, and they are over");
        world.store.set("t/f/f/~/comment:1", garbage);
        assert_eq!(word(&sweeper, &key), "miss", "{garbage:?} as a fragment");
        world.store.set("t/b", garbage);
        assert_eq!(word(&sweeper, &key), "bypass", "{garbage:?} as a marker");
        world.settle(&sweeper);
    }
}

#[test]
fn another_fragments_envelope_is_never_shown() {
    let world = World::new();
    let sweeper = world.warm();
    render(&sweeper, RecordKey::new("comment", 1), "secret of 1");
    let stored = world.store.get("t/f/f/~/comment:1").unwrap();
    render(&sweeper, RecordKey::new("comment", 2), "public");
    world.store.set("t/f/f/~/comment:2", &stored);
    assert_eq!(&*render(&sweeper, RecordKey::new("comment", 2), "public"), "public");
}

#[test]
fn a_render_that_fails_stores_nothing_and_gives_its_lease_back() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let failed = sweeper.fragment(&key, "f").get_or_render(|| Err::<String, _>("no luck"));
    assert_eq!(failed.unwrap_err(), "no luck");
    let (other, started) = (world.process(), std::time::Instant::now());
    assert_eq!(word(&other, &key), "miss");
    assert!(world.store.batches.lock().unwrap().iter().flatten().filter(|op| op.key.contains("/l/")).count() >= 3, "{started:?}");
    assert_eq!(word(&sweeper, &key), "hit");
}

#[test]
fn one_process_renders_while_another_waits_for_its_lease() {
    let world = World::new();
    let (first, second) = (world.warm(), world.process());
    let key = RecordKey::new("comment", 1);
    let barrier = Arc::new(Barrier::new(2));
    std::thread::scope(|scope| {
        let inside = barrier.clone();
        let rendering = scope.spawn(|| {
            first.fragment(&key, "f").get_or_render(move || {
                inside.wait();
                std::thread::sleep(Duration::from_millis(8));
                Ok::<_, Never>("from the first")
            })
        });
        barrier.wait();
        let other = second.fragment(&key, "f").get_or_render(|| Ok::<_, Never>("from the second")).unwrap();
        assert_eq!((&*other, other.outcome()), ("from the first", Outcome::Hit));
        rendering.join().unwrap().unwrap();
    });
}

#[test]
fn many_callers_of_one_process_render_once() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let (renders, start) = (AtomicUsize::new(0), Barrier::new(50));
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                start.wait();
                let body = sweeper.fragment(&key, "f").get_or_render(|| {
                    renders.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(30));
                    Ok::<_, Never>("once")
                });
                assert_eq!(body.unwrap(), "once");
            });
        }
    });
    assert_eq!(renders.load(Ordering::SeqCst), 1);
}

#[test]
fn under_a_hold_callers_share_only_renders_that_began_after_they_came() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let _mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    let (data, renders, start) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(30));
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..5 {
                    let committed = data.fetch_add(1, Ordering::SeqCst) + 1;
                    let shown = sweeper.fragment(&key, "f").get_or_render(|| {
                        renders.fetch_add(1, Ordering::SeqCst);
                        let read = data.load(Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(2));
                        Ok::<_, Never>(read.to_string())
                    });
                    let shown: usize = shown.unwrap().parse().unwrap();
                    assert!(shown >= committed, "{shown} was read before {committed}");
                }
            });
        }
    });
    assert!(renders.load(Ordering::SeqCst) < 75, "150 callers, {} renders", renders.load(Ordering::SeqCst));
}

#[test]
fn an_inner_fragment_that_was_bypassed_makes_the_outer_one_unstorable() {
    let world = World::new();
    let sweeper = world.warm();
    let (outer, inner) = (RecordKey::new("post", 1), RecordKey::new("comment", 1));
    let page = || {
        sweeper.fragment(&outer, "outer").get_or_render(|| {
            let inner = sweeper.fragment(&inner, "inner").get_or_render(|| Ok::<_, Never>("inner"))?;
            Ok::<_, Never>(format!("<{inner}>"))
        })
    };
    let mark = sweeper.mark(std::slice::from_ref(&inner)).unwrap();
    assert_eq!(page().unwrap().outcome(), Outcome::Unstorable);
    assert_eq!(page().unwrap().outcome(), Outcome::Unstorable);
    sweeper.release(&mark);
    assert_eq!(page().unwrap().outcome(), Outcome::Miss);
    assert_eq!(page().unwrap().outcome(), Outcome::Hit);
}

#[test]
fn serve_stale_shows_an_older_version_instead_of_a_bypass_and_only_within_its_age() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let ask = |body: &'static str| {
        let fragment = sweeper.fragment(&key, "f").serve_stale(Duration::from_secs(60));
        fragment.get_or_render(|| Ok::<_, Never>(body)).unwrap()
    };
    ask("old");
    let _mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    assert_eq!(ask("new"), "old");
    assert_eq!(ask("new").outcome(), Outcome::Stale);
    assert_eq!(&*render(&sweeper, &key, "new"), "new", "who did not ask for it never gets an older version");
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(ask("new"), "old");
    world.clock.advance(Duration::from_secs(90));
    let _again = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    let fresh = ask("new");
    assert_eq!((&*fresh, fresh.outcome()), ("new", Outcome::Bypass(Reason::Held)));
    assert_eq!(ask("newer"), "new", "what was rendered under a hold is kept for these readers");
    assert_eq!(&*render(&sweeper, &key, "mine"), "mine", "and for these only");
}

#[test]
fn too_large_and_empty_fragments_are_served() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    let large = "x".repeat(40 << 20);
    assert_eq!(render(&sweeper, &key, &large).outcome(), Outcome::TooLarge);
    assert_eq!(render(&sweeper, &key, "").outcome(), Outcome::Miss);
    let empty = render(&sweeper, &key, "not again");
    assert_eq!((&*empty, empty.outcome()), ("", Outcome::Hit));
    assert_eq!(sweeper.stats().too_large, 1);
}

#[test]
fn ttls_out_of_range_are_reported_and_not_stored() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    for ttl in [Duration::ZERO, Duration::from_secs(u64::MAX)] {
        let ask = || sweeper.fragment(&key, "f").ttl(ttl).get_or_render(|| Ok::<_, Never>("x")).unwrap().outcome();
        assert_eq!(ask(), Outcome::Bypass(Reason::InvalidTtl));
        assert_eq!(ask(), Outcome::Bypass(Reason::InvalidTtl));
    }
    let long = |body| sweeper.fragment(&key, "f").ttl(Duration::from_secs(40 * 24 * 3600)).get_or_render(|| Ok::<_, Never>(body)).unwrap();
    long("x");
    world.clock.advance(Duration::from_secs(39 * 24 * 3600));
    assert_eq!(long("y").outcome(), Outcome::Hit, "more than 30 days are a length of time, not a date");
    world.clock.advance(Duration::from_secs(2 * 24 * 3600));
    assert_eq!(long("y").outcome(), Outcome::Miss);
}

#[test]
fn a_store_that_is_down_is_left_alone_and_gets_what_it_is_owed_first() {
    let world = World::new();
    let sweeper = world.warm();
    let key = RecordKey::new("comment", 1);
    render(&sweeper, &key, "before");
    world.store.down.store(true, Ordering::SeqCst);
    assert_eq!(render(&sweeper, &key, "x").outcome(), Outcome::Bypass(Reason::NodeDown));
    let asked = world.store.batch_count();
    for _ in 0..100 {
        assert_eq!(word(&sweeper, &key), "bypass");
    }
    assert_eq!(world.store.batch_count(), asked, "it is not asked again for one retry interval");

    let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    sweeper.release(&mark);
    assert_eq!(sweeper.stats().marks_failed, 1);
    world.store.down.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_millis(1_100));
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while sweeper.stats().marks_delivered == 0 {
        assert!(std::time::Instant::now() < until, "never delivered: {:?}", sweeper.stats());
        assert_eq!(word(&sweeper, &key), "bypass", "nothing is read before what is owed was delivered");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(word(&sweeper, &key), "bypass", "others may owe it something too");
    world.clock.advance(Duration::from_millis(1_600));
    assert_eq!(&*render(&sweeper, &key, "after"), "after");
}

#[test]
fn under_abort_a_write_is_refused_when_its_records_cannot_be_marked() {
    let world = World::new();
    let builder = cachesweeper_core::blocking::Sweeper::builder().store(world.store.clone()).clock(world.clock.clone());
    let sweeper = builder.graph(support::graph()).policy(cachesweeper_core::Policy::Abort).build().unwrap();
    world.store.down.store(true, Ordering::SeqCst);
    let refused = sweeper.mark(&[RecordKey::new("comment", 42)]).unwrap_err().to_string();
    assert!(refused.contains("comment:42") && refused.contains("connection refused") && refused.contains("Proceed"), "{refused}");
}
