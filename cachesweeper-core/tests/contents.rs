//! What may be under our keys, whoever put it there: it is a miss or a bypass, never a panic, and never another's fragment.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use cachesweeper_core::RecordKey;
use cachesweeper_core::keys::{MAX_KEY, Namespace};
use cachesweeper_core::protocol::Envelope;
use cachesweeper_core::version::{Event, Marker, Stamp, Uid, VersionLog};
use cachesweeper_core::{Dependency, Micros, Row, Tick};
use proptest::prelude::*;
use support::{World, render, word};

const LOG: &str = "t/t/comment:1";
const FRAGMENT: &str = "t/f/f/~/comment:1";
const MARKER: &str = "t/b";

fn comment() -> RecordKey {
    RecordKey::new("comment", 1)
}

fn uid(number: u64) -> Uid {
    Uid::new(Tick { now: Micros(number), random: number })
}

/// What else than the right thing could be there.
fn contents() -> Vec<Vec<u8>> {
    let envelope =
        |key: &str| Envelope { stamp: Stamp::from_bytes([0; 16]), read_at: Micros(1), body: "other".into() }.encode(key).to_vec();
    let log = VersionLog::fresh(uid(1)).with(Event::Release { uid: uid(2), birth: Micros(3) }).to_bytes();
    vec![
        Vec::new(),
        vec![0],
        b"=".to_vec(),
        b"\r\nEND\r\n".to_vec(),
        b"<script>alert(1)</script>".to_vec(),
        vec![0xff; 100_000],
        log[..30].to_vec(),
        [&log[..], b"x"].concat(),
        log.iter().rev().copied().collect(),
        envelope(FRAGMENT),
        envelope("t/f/f/~/comment:2"),
        envelope(FRAGMENT)[..20].to_vec(),
        // A key as long as 32 bits can say.
        [&[1; 25][..], &[0xff; 4], b"t/f/f"].concat(),
        [&Marker::bare(uid(1))[..], b"?"].concat(),
        b"garbage".to_vec(),
    ]
}

#[test]
fn anything_under_a_fragments_key_is_a_miss_and_is_overwritten() {
    let world = World::new();
    let sweeper = world.warm();
    for content in contents() {
        render(&sweeper, comment(), "mine");
        world.store.set(FRAGMENT, &content);
        let shown = render(&sweeper, comment(), "mine");
        assert_eq!((&*shown, shown.outcome().word()), ("mine", "miss"), "{content:?}");
        assert_eq!(word(&sweeper, comment()), "hit");
    }
}

#[test]
fn anything_under_a_logs_key_is_replaced_and_held_until_every_hold_it_may_have_swallowed_is_over() {
    let world = World::new();
    let sweeper = world.warm();
    for content in contents().into_iter().filter(|content| VersionLog::parse(content).is_err()) {
        render(&sweeper, comment(), "before");
        world.store.set(LOG, &content);
        // The store appends to whatever is there, and acknowledges it: this hold is in bytes that are no log.
        let mark = sweeper.mark(&[comment()]).unwrap();
        for _ in 0..20 {
            assert_eq!(render(&sweeper, comment(), "before").outcome().word(), "bypass", "{content:?}");
            world.clock.advance(Duration::from_millis(500));
        }
        world.clock.advance(Duration::from_millis(1_100));
        // The writer has committed and died: nothing from before its COMMIT was stored.
        assert_eq!(&*render(&sweeper, comment(), "after"), "after", "{content:?}");
        assert_eq!(word(&sweeper, comment()), "hit", "it has healed: {content:?}");
        drop(mark);
    }
    assert_eq!(sweeper.stats().marks_failed, 0);
}

#[test]
fn a_full_log_that_is_none_is_replaced_by_a_mark_and_keeps_holding_for_the_others() {
    let world = World::new();
    let (sweeper, other) = (world.warm(), world.process());
    world.store.set(LOG, b"garbage");
    drop(other.mark(&[comment()]).unwrap());
    world.store.full.store(true, std::sync::atomic::Ordering::SeqCst);
    let mark = sweeper.mark(&[comment()]).unwrap();
    world.store.full.store(false, std::sync::atomic::Ordering::SeqCst);
    sweeper.release(&mark);
    // The other's hold was in the bytes that were replaced.
    assert_eq!(word(&sweeper, comment()), "bypass");
    world.clock.advance(Duration::from_millis(11_100));
    assert_eq!(word(&sweeper, comment()), "miss");
}

#[test]
fn a_log_of_somebody_elses_is_another_version() {
    let world = World::new();
    let sweeper = world.warm();
    render(&sweeper, comment(), "mine");
    world.store.set(LOG, &VersionLog::fresh(uid(1)).with(Event::Release { uid: uid(2), birth: Micros(3) }).to_bytes());
    assert_eq!(word(&sweeper, comment()), "miss");
    assert_eq!(word(&sweeper, comment()), "hit");
}

#[test]
fn anything_under_the_markers_key_costs_a_quarantine_and_no_more() {
    let world = World::new();
    let sweeper = world.warm();
    for content in contents() {
        world.store.set(MARKER, &content);
        assert_eq!(word(&sweeper, comment()), "bypass", "{content:?}");
        world.settle(&sweeper);
        assert!(matches!(word(&sweeper, comment()), "hit" | "miss"), "{content:?}");
    }
}

/// A log of a mebibyte, all of it open marks: the work is about linear in its length. (It was the square of it once: minutes.)
#[test]
fn a_log_full_of_open_marks_is_read_in_one_go() {
    let world = World::new();
    let sweeper = world.warm();
    let mark = |number| Event::Mark { uid: uid(number), deadline: Micros(u64::MAX) };
    let log = (1..40_000).fold(VersionLog::fresh(uid(1)), |log, number| log.with(mark(number)));
    world.store.set(LOG, &log.to_bytes());
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let began = Instant::now();
        assert_eq!(word(&sweeper, comment()), "bypass");
        done.send(began.elapsed()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(60)).expect("it ends");
}

#[test]
fn a_hold_without_end_bypasses_until_the_log_is_written_anew_and_a_fragment_with_a_future_time_is_no_stale_one() {
    let world = World::new();
    let sweeper = world.warm();
    let log = VersionLog::fresh(uid(1)).with(Event::Mark { uid: uid(2), deadline: Micros(u64::MAX) });
    world.store.set(LOG, &log.to_bytes());
    assert_eq!(word(&sweeper, comment()), "bypass");
    world.clock.advance(Duration::from_secs(72_000));
    // It denies service for this record; deleting the log is enough.
    assert_eq!(word(&sweeper, comment()), "bypass");
    world.store.evict(LOG);
    world.settle(&sweeper);
    assert!(matches!(word(&sweeper, comment()), "hit" | "miss"));
}

/// What users may send: control bytes, separators of ours and of memcached's, very long text.
fn nasty() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\r\n",
        "a\r\nset t/t/comment:1 0 0 1\r\nx\r\n",
        "\0",
        "\n",
        "a b",
        "%",
        "%25",
        "/",
        "+",
        "~",
        "~/",
        "#",
        ",",
        ":",
        "*",
        "**",
    ]
    .map(String::from)
    .into();
    texts.extend(
        ["\u{feff}", "\u{202e}", "é", "e\u{301}", "🦀", "\u{10ffff}", "\u{7f}", "\u{85}", "\u{2028}", "..", "../../t/t/x", "t/b"]
            .map(String::from),
    );
    texts.push(format!("x{}y", "\r\n".repeat(5 << 20)));
    for length in [200, 250, 251] {
        texts.push("x".repeat(length));
        texts.push("\r\n".repeat(length / 2));
        texts.push(format!("{}y", "x".repeat(length - 1)));
    }
    texts.sort();
    texts.dedup();
    texts
}

#[test]
fn no_text_of_a_users_leaves_its_key() {
    let world = World::new();
    let sweeper = world.warm();
    let texts = nasty();
    for (number, text) in texts.iter().enumerate() {
        let body = format!("body {number}");
        let render = || Ok::<_, std::convert::Infallible>(body.clone());
        let shown = sweeper.fragment(RecordKey::new("comment", 7), "f").vary(text).get_or_render(render).unwrap();
        assert_eq!(*shown, *body, "a vary value");
        let shown = sweeper.fragment(RecordKey::new("comment", text), "by id").get_or_render(render).unwrap();
        assert_eq!(*shown, *body, "an id");
        let shown = sweeper.fragment(RecordKey::new("comment", 7), text).get_or_render(render).unwrap();
        assert_eq!(*shown, *body, "a name");
        let shown = sweeper.fragment(RecordKey::new(&format!("t{text}"), 7), "by table").get_or_render(render).unwrap();
        assert_eq!(*shown, *body, "a table");
    }
    for batch in world.store.batches.lock().unwrap().iter() {
        for op in batch {
            assert!(
                op.key.len() <= MAX_KEY && op.key.bytes().all(|byte| byte.is_ascii_graphic()) && op.key.starts_with("t/"),
                "{}",
                op.key
            );
        }
    }
}

/// Parts of a fragment's key, as users might fill them.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[/+~%:,#*a\r\n \0]{0,4}",
        prop::sample::select(nasty().into_iter().filter(|text| text.len() < 300).collect::<Vec<_>>())
    ]
}

type Parts = (String, String, Vec<(String, Vec<String>, bool)>, Vec<String>);

fn parts() -> impl Strategy<Value = Parts> {
    let record = (part(), prop::collection::vec(part(), 0..3), any::<bool>());
    (part(), part(), prop::collection::vec(record, 1..3), prop::collection::vec(part(), 0..3))
}

fn full_key((namespace, name, on, vary): &Parts) -> std::sync::Arc<str> {
    let row = |in_hand: bool| in_hand.then(|| Row::dependency(&support::Comment(1, "")).row).flatten();
    let on: Vec<Dependency> =
        on.iter().map(|(entity, id, in_hand)| Dependency { record: RecordKey::composite(entity, id), row: row(*in_hand) }).collect();
    Namespace::new(namespace).fragment(name, &on, vary)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Two users' fragments have two keys, however they choose what they vary by, and wherever else their text goes.
    #[test]
    fn two_fragments_have_two_keys((left, mut right) in (parts(), parts()), same in 0_u8..16) {
        if same & 1 != 0 { right.0.clone_from(&left.0); }
        if same & 2 != 0 { right.1.clone_from(&left.1); }
        if same & 4 != 0 { right.2.clone_from(&left.2); }
        if same & 8 != 0 { right.3.clone_from(&left.3); }
        prop_assert_eq!(left == right, full_key(&left) == full_key(&right));
    }

    /// The same text cut into parts differently is another fragment.
    #[test]
    fn where_a_part_ends_counts(text in "[a-z/+~%\r\n]{1,12}", at in any::<prop::sample::Index>(), more in part()) {
        let at = at.index(text.len() + 1);
        let cut = |vary: Vec<String>| full_key(&("t".into(), "f".into(), vec![("comment".into(), vec!["1".into()], true)], vary));
        let keys = [
            cut(vec![text.clone(), more.clone()]),
            cut(vec![text[..at].into(), text[at..].into(), more.clone()]),
            cut(vec![format!("{text}/{more}")]),
            cut(vec![text.clone()]),
        ];
        for (position, key) in keys.iter().enumerate() {
            prop_assert!(!keys[..position].contains(key), "{}", key);
        }
    }
}
