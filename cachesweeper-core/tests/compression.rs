//! Large fragments are stored compressed; whoever cannot read that, or finds it damaged, renders.
#![allow(clippy::unwrap_used)]

mod support;

use cachesweeper_core::RecordKey;
use cachesweeper_core::protocol::Envelope;
use support::{World, render, word};

const KEY: &str = "t/f/f/~/note:1";

fn note() -> RecordKey {
    RecordKey::new("note", 1)
}

/// HTML that repeats itself, of exactly this many bytes.
fn html(bytes: usize) -> String {
    let mut html = "<li class=\"comment\">First!</li>".repeat(bytes / 31 + 1);
    html.truncate(bytes);
    html
}

#[test]
fn an_unknown_format_is_a_miss_and_is_overwritten() {
    let world = World::new();
    let sweeper = world.warm();
    assert_eq!((word(&sweeper, note()), word(&sweeper, note())), ("miss", "hit"));
    let genuine = world.store.get(KEY).unwrap();
    // What every process makes of a compressed fragment if it does not know the format, because it is older or was built
    // without it: 3 with an envelope behind it is none that was compressed, 4 has no meaning yet.
    for format in [0, 3, 4, 255] {
        let unknown = [&[format], &genuine[1..]].concat();
        assert_eq!(Envelope::decode(&unknown.clone().into(), KEY), None);
        world.store.set(KEY, &unknown);
        assert_eq!((word(&sweeper, note()), word(&sweeper, note())), ("miss", "hit"), "{format}");
    }
    assert_eq!(sweeper.stats().store_errors, 0);
}

#[cfg(not(feature = "compression"))]
#[test]
fn nothing_is_compressed_without_the_feature() {
    let world = World::new();
    let sweeper = world.warm();
    render(&sweeper, note(), &html(100_000));
    assert_eq!((world.store.get(KEY).unwrap()[0], sweeper.stats().compressed), (1, 0));
}

#[cfg(feature = "compression")]
mod with_the_feature {
    use std::convert::Infallible;

    use cachesweeper_core::blocking::Sweeper;
    use cachesweeper_core::protocol::Compression;
    use cachesweeper_core::{Builder, Outcome};

    use super::*;

    fn builder(world: &World) -> Builder<Sweeper> {
        Sweeper::builder().store(world.store.clone()).clock(world.clock.clone()).graph(support::graph()).namespace("t")
    }

    fn above(world: &World, bytes: u64) -> Sweeper {
        world.warm();
        builder(world).compress_above(bytes).build().unwrap()
    }

    /// What a caller gets of `body`, and how.
    fn shown(sweeper: &Sweeper, body: &str) -> (String, &'static str) {
        let rendered = render(sweeper, note(), body);
        (rendered.to_string(), rendered.outcome().word())
    }

    #[test]
    fn what_is_above_the_threshold_is_stored_compressed_and_is_served_whole() {
        let world = World::new();
        world.warm();
        let standard = builder(&world).build().unwrap();
        for (sweeper, threshold) in [(&standard, 2048), (&above(&world, 100), 100)] {
            let before = sweeper.stats();
            for (bytes, format) in [(threshold, Envelope::FORMAT), (threshold + 1, Compression::FORMAT), (100_000, Compression::FORMAT)] {
                sweeper.invalidate(note()).unwrap();
                let body = html(bytes);
                assert_eq!(shown(sweeper, &body), (body.clone(), "miss"));
                let stored = world.store.get(KEY).unwrap();
                assert_eq!(stored[0], format, "{bytes}");
                assert_eq!(shown(sweeper, "not rendered"), (body, "hit"));
            }
            let stats = sweeper.stats();
            assert_eq!((stats.compressed - before.compressed, stats.fills - before.fills), (2, 3));
            let whole = 2 * (Envelope::OVERHEAD + KEY.len()) + threshold + 1 + 100_000;
            let saved = usize::try_from(stats.compressed_saved).unwrap();
            assert!(saved > 90_000 && saved < whole, "{saved}");
        }
    }

    #[test]
    fn what_does_not_become_smaller_is_stored_as_it_is() {
        let world = World::new();
        let sweeper = above(&world, 100);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: String = (0..5_000).map(|_| random.char('\u{21}'..'\u{10000}')).collect();
        assert_eq!((shown(&sweeper, &noise), shown(&sweeper, "")), ((noise.clone(), "miss"), (noise, "hit")));
        assert_eq!((world.store.get(KEY).unwrap()[0], sweeper.stats().compressed), (Envelope::FORMAT, 0));
    }

    #[test]
    fn it_is_read_whatever_the_setting_is_and_can_be_turned_off() {
        let world = World::new();
        let (on, off) = (above(&world, 100), above(&world, u64::MAX));
        let body = html(5_000);
        assert_eq!((shown(&on, &body), shown(&off, "")), ((body.clone(), "miss"), (body.clone(), "hit")));
        off.invalidate(note()).unwrap();
        assert_eq!((shown(&off, &body), shown(&on, "")), ((body.clone(), "miss"), (body, "hit")));
        assert_eq!((off.stats().compressed, world.store.get(KEY).unwrap()[0]), (0, Envelope::FORMAT));
    }

    #[test]
    fn damaged_ones_are_rendered_and_overwritten() {
        let world = World::new();
        let sweeper = above(&world, 100);
        let body = html(5_000);
        shown(&sweeper, &body);
        let genuine = world.store.get(KEY).unwrap();
        let length_at = Envelope::OVERHEAD + KEY.len();
        let claim = |bytes: u32| [&genuine[..length_at], &bytes.to_be_bytes(), &genuine[length_at + 4..]].concat();
        let changed = |at: usize| {
            let mut changed = genuine.to_vec();
            changed[at] ^= 0x40;
            changed
        };
        let cuts = [1, 20, 29, length_at, length_at + 3, length_at + 12, length_at + 13, genuine.len() - 1];
        let mut damaged: Vec<Vec<u8>> = cuts.into_iter().map(|cut| genuine[..cut].to_vec()).collect();
        damaged.extend([claim(0), claim(4_999), claim(5_001), claim(16 << 20), claim(u32::MAX)]);
        // The format, the length of the key, the key, the checksum, the block.
        damaged.extend([0, 25, 30, length_at + 4, length_at + 14, genuine.len() - 1].map(changed));
        damaged.push([&genuine[..], b"x"].concat());
        for (count, bytes) in damaged.into_iter().enumerate() {
            world.store.set(KEY, &bytes);
            assert_eq!(shown(&sweeper, &body), (body.clone(), "miss"), "{count}");
            assert_eq!(shown(&sweeper, "").1, "hit", "it was overwritten: {count}");
        }
        assert_eq!(sweeper.stats().store_errors, 0);
    }

    #[test]
    fn only_what_is_stored_must_fit() {
        let body = html(100_000);
        for (above, first, second) in [(2_048, Outcome::Miss, Outcome::Hit), (u64::MAX, Outcome::TooLarge, Outcome::TooLarge)] {
            let sweeper = Sweeper::builder().memory(64 << 10).compress_above(above).graph(support::graph()).build().unwrap();
            let outcome = || {
                let rendered = sweeper.fragment(note(), "f").get_or_render(|| Ok::<_, Infallible>(body.clone())).unwrap();
                assert_eq!(&*rendered, body);
                rendered.outcome()
            };
            assert_eq!((outcome(), outcome()), (first, second));
            assert_eq!(sweeper.stats().too_large, if first == Outcome::TooLarge { 2 } else { 0 });
        }
    }

    #[cfg(feature = "hmac")]
    #[test]
    fn the_seal_is_around_the_compressed_bytes_and_nothing_is_decompressed_before_it_was_checked() {
        use cachesweeper_core::protocol::Seal;

        const SECRET: &[u8; 32] = b"a secret of 32 bytes, for a test";
        let world = World::new();
        let plain = above(&world, 100);
        let sealing = builder(&world).compress_above(100).secret(SECRET).build().unwrap();
        let body = html(5_000);
        // Valid in everything but the seal: without a secret it is served.
        shown(&plain, &body);
        let unsealed = world.store.get(KEY).unwrap();
        assert_eq!((unsealed[0], shown(&plain, "").1), (Compression::FORMAT, "hit"));

        let forged = |sweeper: &Sweeper| sweeper.stats().forged;
        assert_eq!((shown(&sealing, &body).1, forged(&sealing)), ("miss", 1));
        let sealed = world.store.get(KEY).unwrap();
        assert!(sealed.len() < body.len());
        assert_eq!((sealed[0], sealed[Seal::OVERHEAD]), (Seal::FORMAT, Compression::FORMAT));
        // The tag is that of what is compressed: opened without making it whole, and the same block as without a seal.
        let opened = Seal::default().with_secret(SECRET).open(&sealed).unwrap();
        let fixed = Envelope::OVERHEAD + KEY.len();
        assert_eq!(opened[fixed..], unsealed[fixed..]);
        assert_eq!(shown(&sealing, ""), (body.clone(), "hit"));

        let mut changed = sealed.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let other = Seal::default().with_secret(b"another secret of 32 bytes, here").seal(&opened);
        // With another time, which any envelope may have.
        let moved = [&sealed[..Seal::OVERHEAD], &unsealed[..24], b"x", &unsealed[25..]].concat();
        let forgeries = [unsealed.to_vec(), moved, changed, other.to_vec()];
        for (count, forgery) in forgeries.into_iter().enumerate() {
            world.store.set(KEY, &forgery);
            // That it is counted shows that it was refused by its seal, which comes first, and became a missing item there.
            assert_eq!((shown(&sealing, &body).1, forged(&sealing)), ("miss", count as u64 + 2));
            assert_eq!(shown(&sealing, ""), (body.clone(), "hit"));
        }
        // Genuinely sealed, but damaged inside: a miss of another kind.
        let damaged = Seal::default().with_secret(SECRET).seal(&opened.slice(..opened.len() - 9));
        world.store.set(KEY, &damaged);
        let before = forged(&sealing);
        assert_eq!((shown(&sealing, &body).1, forged(&sealing)), ("miss", before));
    }

    #[cfg(feature = "tokio")]
    #[tokio::test]
    async fn the_async_face_does_the_same() {
        let sweeper = cachesweeper_core::Sweeper::builder().memory(64 << 10).graph(support::graph()).build().unwrap();
        let body = html(100_000);
        for (rendered, word) in [(body.as_str(), "miss"), ("not rendered", "hit")] {
            let shown = sweeper.fragment(note(), "f").get_or_render(async || Ok::<_, Infallible>(rendered)).await.unwrap();
            assert_eq!((&*shown, shown.outcome().word()), (body.as_str(), word));
        }
        let rows: Vec<support::Comment> = (0..20).map(|id| support::Comment(id, "text")).collect();
        for word in ["miss", "hit"] {
            let all = sweeper.fragments(&rows, "f").get_or_render(async |missing: &[&support::Comment]| {
                Ok::<_, Infallible>(missing.iter().map(|row| html(3_000 + row.0 as usize)).collect())
            });
            for (id, shown) in all.await.unwrap().into_iter().enumerate() {
                assert_eq!((&*shown, shown.outcome().word()), (html(3_000 + id).as_str(), word));
            }
        }
        assert_eq!(sweeper.stats().compressed, 21);
    }
}
