//! Writes the seeds of every target, made by the real encodings: `cargo run --bin seeds`, in this folder.

use std::path::Path;

use bytes::Bytes;
use cachesweeper_core::protocol::{Compression, Envelope, Seal};
use cachesweeper_core::version::{Event, Marker, Stamp, StampBuilder, Uid, VersionLog};
use cachesweeper_core::{Micros, Tick};

fn uid(now: u64, random: u64) -> Uid {
    Uid::new(Tick { now: Micros(now), random })
}

/// Text with its length ahead of it, as `Front::bytes` reads it.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

/// A connection's part of the memcached target's script.
fn part(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let (head, writer) = (uid(5, 1), uid(6, 2));
    let mark = Event::Mark { uid: writer, deadline: Micros(90) };
    let release = Event::Release { uid: writer, birth: Micros(80) };
    let log = VersionLog::fresh(head).with(mark);
    let fronted = |bytes: &[u8]| [&[50, 5, 9, 17, 60, 0][..], bytes].concat();
    let mut all = vec![
        ("log", "fresh", fronted(&VersionLog::fresh(head).to_bytes())),
        ("log", "held", fronted(&log.to_bytes())),
        ("log", "released", fronted(&log.clone().with(release).to_bytes())),
        ("log", "few-uids", fronted(&[0, 9, 70, 1, 9, 60, 0, 10, 80, 0, 10, 90, 1, 11, 40])),
    ];

    let quarantine = Marker::quarantine(head, Micros(40));
    all.push(("marker", "bare", [&[50, 5, 41][..], &Marker::bare(head)].concat()));
    all.push(("marker", "over", [&[50, 5, 41][..], &Marker::bare(head), &quarantine].concat()));
    all.push(("marker", "of-another", [&[50, 5, 41][..], &Marker::bare(writer), &quarantine].concat()));

    let (key, other) = ("blog/f/comment.html/~/comment:42/de", "blog/f/comment.html/~/comment:42/en");
    let envelope = Envelope { stamp: Stamp::from_bytes([7; 16]), read_at: Micros(70), body: Bytes::from_static(b"<p>First!</p>") };
    let sealed = Seal::default().with_secret(b"one secret of 32 bytes in length").seal(&envelope.encode(key));
    let keys = [&[40, 1][..], &counted(key.as_bytes()), &counted(other.as_bytes())].concat();
    all.push(("envelope", "plain", [&keys[..], &envelope.encode(key)].concat()));
    all.push(("envelope", "of-another", [&keys[..], &envelope.encode(other)].concat()));
    // With a bit wrong: the right one would be the only input that may open.
    all.push(("envelope", "sealed", [&keys[..], &sealed[..40], b"x", &sealed[41..]].concat()));

    let long = Envelope { body: "<p class=\"text\">First!</p>\n".repeat(20).into(), ..envelope };
    let compressed = Compression::above(0).compress(&long.encode(key)).expect("it repeats itself");
    all.push(("envelope", "compressed", [&keys[..], &compressed].concat()));
    all.push(("envelope", "compressed-damaged", [&keys[..], &compressed[..90], b"x", &compressed[91..]].concat()));
    all.push(("envelope", "repeats-itself", [&keys[..], &long.body].concat()));

    // `arbitrary` reads strings from both ends of its input, so these are only rich in what keys trip over.
    let text = b"blog comment.html comment:42 a,b +/~*% %2F \r\nset x 0 0 1\r\n \0 \xc3\xa9 \xf0\x9f\xa6\x80 ";
    all.push(("keys", "separators", text.repeat(4)));
    all.push(("keys", "lengths", [text.as_slice(), &[8, 1, 3, 1, 9, 1, 0, 1, 5, 2, 31]].concat()));

    let header = "id,title,url,num_points,num_comments,author,created_at\n";
    let row = "7,\"A \"\"quoted\"\", title\",http://example.org/,3,2,ann,8/4/2016 11:52\n";
    all.push(("csv", "two", format!("{header}{row}8,b,,0,0,x,12/31/2016 0:00\n").into()));
    all.push(("csv", "mixed", format!("\u{feff}{}{row}7,\"never closed,,", header.replace('\n', ",extra\r\n")).into()));

    all.push(("csv", "long-field", format!("{header}{},c,,0,0,ann,8/4/2016 11:52\n", "9".repeat(2_000)).into()));

    // Two fragments, then: a lookup, a render, a write; first answered honestly, then less so.
    for (name, kind) in [("look-up", 0), ("serve", 1), ("append", 2), ("serve-page", 129), ("serve-stale", 64)] {
        let start = [1, 1, 1, 2, 3, 0, kind];
        let honest: Vec<u8> =
            start.into_iter().chain([9].repeat(12)).chain([9, 0, 5, b'h', b'e', b'l', b'l', b'o']).chain([9; 24]).collect();
        all.push(("machines", name, honest.iter().copied().chain([0, 6, 9, 4, 0, 9, 90, 1, 9, 80, 8, 1, 1, 90, 255, 3, 2, 1]).collect()));
    }

    let fresh = VersionLog::fresh(head).to_bytes();
    let mut stamp = StampBuilder::default();
    stamp.token(VersionLog::token(&fresh));
    let value = |bytes: &[u8], opaque: u32| [format!("VA {} f0 O{opaque}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let hits = [value(&fresh, 0), value(b"x", 1), b"EN O2\r\n".to_vec()].concat();
    all.push(("memcached", "hits", [&[1, 2, 0, 6, 7][..], &part(&hits)].concat()));
    // add, append (touched first), set, delete
    all.push(("memcached", "writes", [&[1, 3, 1, 2, 3, 5][..], &part(b"NS O0\r\nHD O1\r\nNS O2\r\nHD O3\r\nNF O4\r\n")].concat()));
    all.push(("memcached", "replaced", [&[1, 0, 4][..], &part(b"VA 5 c77\r\nvalue\r\nHD\r\n")].concat()));
    all.push((
        "memcached",
        "errors",
        [&[1, 1, 0, 3][..], &part(b"SERVER_ERROR object too large for cache\r\nCLIENT_ERROR bad\r\n")].concat(),
    ));
    all.push((
        "memcached",
        "greeting",
        [&[0, 0, 0][..], &part(b"VERSION 1.6.21\r\nSTAT item_size_max 99999999999999999999\r\nEND\r\n")].concat(),
    ));
    all.push(("memcached", "huge", [&[1, 0, 0][..], &part(b"VA 1073741824 f0 O0\r\nx")].concat()));
    all
}

fn main() -> std::io::Result<()> {
    for (target, name, bytes) in seeds() {
        let folder = Path::new("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
