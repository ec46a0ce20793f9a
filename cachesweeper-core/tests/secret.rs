//! Fragments sealed with the application's secret: a store that others can write to cannot put words into it.
#![cfg(feature = "hmac")]
#![allow(clippy::unwrap_used)]

mod support;

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::protocol::{Envelope, Seal};
use cachesweeper_core::version::{StampBuilder, VersionLog};
use cachesweeper_core::{Builder, Micros, RecordKey};
use support::{World, graph, render, word};

const NEW: &[u8; 32] = b"the new secret, 32 bytes, random";
const OLD: &[u8; 32] = b"the old secret, 32 bytes, random";
const KEY: &str = "t/f/f/~/note:1";

fn builder(world: &World) -> Builder<Sweeper> {
    Sweeper::builder().store(world.store.clone()).clock(world.clock.clone()).graph(graph()).namespace("t")
}

fn sealed(world: &World, secret: &[u8]) -> Sweeper {
    builder(world).secret(secret).build().unwrap()
}

fn note() -> RecordKey {
    RecordKey::new("note", 1)
}

/// A fragment that is valid by its log, as somebody makes it who can read the store.
fn forged(world: &World, key: &str, body: &'static str) -> bytes::Bytes {
    let log = world.store.get("t/t/note:1").unwrap();
    let mut stamp = StampBuilder::default();
    stamp.token(VersionLog::token(&log));
    Envelope { stamp: stamp.finish(), read_at: Micros(1), body: body.as_bytes().into() }.encode(key)
}

#[test]
fn a_sealed_fragment_is_served_and_one_that_others_wrote_is_not() {
    let world = World::new();
    world.settle(&world.process());
    let sweeper = sealed(&world, NEW);
    assert_eq!((word(&sweeper, note()), word(&sweeper, note())), ("miss", "hit"));
    let genuine = world.store.get(KEY).unwrap();
    assert_eq!(genuine[0], 2);

    let script = "<script>steal()</script>";
    let mut moved = genuine.to_vec();
    let at = moved.len() - 1;
    moved[at] ^= 1;
    let forgeries = [
        forged(&world, KEY, script).to_vec(),
        Seal::default().with_secret(OLD).seal(&forged(&world, KEY, script)).to_vec(),
        [&genuine[..33], &forged(&world, KEY, script)[..]].concat(),
        [&[2; 33][..], &forged(&world, KEY, script)[..]].concat(),
        moved,
        genuine[..40].to_vec(),
        genuine[..20].to_vec(),
        vec![2],
        Vec::new(),
    ];
    for (count, forgery) in forgeries.into_iter().enumerate() {
        world.store.set(KEY, &forgery);
        let shown = render(&sweeper, note(), "body");
        assert_eq!((&*shown, shown.outcome().word()), ("body", "miss"), "{forgery:?}");
        assert_eq!(sweeper.stats().forged, count as u64 + 1);
        assert_eq!(word(&sweeper, note()), "hit", "the forgery was overwritten");
    }
}

#[test]
fn the_same_forgery_is_served_without_a_secret() {
    // So the test above tests something.
    let world = World::new();
    let sweeper = world.warm();
    assert_eq!((word(&sweeper, note()), word(&sweeper, note())), ("miss", "hit"));
    world.store.set(KEY, &forged(&world, KEY, "<script>"));
    assert_eq!(&*render(&sweeper, note(), "body"), "<script>");
}

#[test]
fn a_genuine_fragment_under_another_key_is_not_served() {
    let world = World::new();
    world.settle(&world.process());
    let sweeper = sealed(&world, NEW);
    let shown = |viewer: &str, body: &'static str| {
        sweeper.fragment(note(), "f").vary(viewer).get_or_render(|| Ok::<_, std::convert::Infallible>(body)).unwrap()
    };
    shown("ann", "ann's letters");
    shown("bob", "bob's letters");
    let anns = world.store.get(&format!("{KEY}/ann")).unwrap();
    world.store.set(&format!("{KEY}/bob"), &anns);
    // Its seal is right, and its key is not.
    assert_eq!(&*shown("bob", "bob's letters"), "bob's letters");
    assert_eq!(sweeper.stats().forged, 0);
    assert_eq!((shown("bob", "").outcome().word(), &*shown("ann", "")), ("hit", "ann's letters"));
}

#[test]
fn an_invalidated_fragment_stays_invalid_and_an_old_log_with_its_old_fragment_is_not() {
    let world = World::new();
    world.settle(&world.process());
    let sweeper = sealed(&world, NEW);
    render(&sweeper, note(), "before");
    let (log, fragment) = (world.store.get("t/t/note:1").unwrap(), world.store.get(KEY).unwrap());
    sweeper.invalidate(note()).unwrap();
    world.store.set(KEY, &fragment);
    assert_eq!(&*render(&sweeper, note(), "after"), "after");
    // What a seal cannot see, as SECURITY.md says: both restored together are what the application made, some time ago.
    world.store.set("t/t/note:1", &log);
    world.store.set(KEY, &fragment);
    assert_eq!(&*render(&sweeper, note(), "after"), "before");
}

#[test]
fn with_and_without_a_secret_do_not_read_each_other() {
    let world = World::new();
    let (plain, sweeper) = (world.warm(), sealed(&world, NEW));
    assert_eq!((word(&plain, note()), word(&plain, note())), ("miss", "hit"));
    assert_eq!((word(&sweeper, note()), word(&sweeper, note())), ("miss", "hit"));
    assert_eq!((word(&plain, note()), word(&plain, note())), ("miss", "hit"));
    assert_eq!((sweeper.stats().forged, plain.stats().forged), (1, 0));
    // Logs and markers are not sealed: invalidations reach both.
    plain.invalidate(note()).unwrap();
    assert_eq!(word(&sweeper, note()), "miss");
}

#[test]
fn secrets_are_changed_in_three_deployments_without_a_miss() {
    let world = World::new();
    world.settle(&world.process());
    let deployments = [
        sealed(&world, OLD),
        builder(&world).secret(OLD).also_accept_secret(NEW).build().unwrap(),
        builder(&world).secret(NEW).also_accept_secret(OLD).build().unwrap(),
        sealed(&world, NEW),
    ];
    render(&deployments[0], note(), "body");
    // While a deployment is rolled out, its processes and those of the one before read what either has written.
    for pair in deployments.windows(2) {
        for (writer, reader) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            writer.invalidate(note()).unwrap();
            assert_eq!((word(writer, note()), word(reader, note())), ("miss", "hit"));
        }
    }
    assert!(deployments.iter().all(|sweeper| sweeper.stats().forged == 0));
}

#[test]
fn a_short_or_missing_secret_is_a_mistake_that_is_said_without_the_secret() {
    let world = World::new();
    let mistakes = [
        builder(&world).secret(""),
        builder(&world).secret("hunter2"),
        builder(&world).secret(NEW).also_accept_secret("hunter2"),
        builder(&world).also_accept_secret(OLD),
    ];
    for mistake in mistakes {
        let error = mistake.build().unwrap_err().to_string();
        assert!(error.contains("secret") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn nothing_prints_the_secret() {
    let world = World::new();
    let building = format!("{:#?}", builder(&world).secret(NEW).also_accept_secret(OLD));
    world.settle(&world.process());
    let sweeper = sealed(&world, NEW);
    render(&sweeper, note(), "body");
    let texts = [building, format!("{sweeper:#?}"), format!("{:#?}", sweeper.config())];
    let written: Vec<u8> = world.store.batches.lock().unwrap().iter().flatten().flat_map(|op| format!("{op:?}").into_bytes()).collect();
    let texts = texts.into_iter().chain([String::from_utf8_lossy(&written).into_owned()]);
    for text in texts {
        assert!(!text.contains("secret, 32") && !text.contains("116, 104, 101, 32, 110, 101, 119"), "{text}");
    }
}
