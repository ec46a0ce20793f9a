//! Servers that are broken, or hostile: whatever they say, the store answers every operation, in time and in bounded memory.
#![cfg(feature = "memcached")]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use cachesweeper_core::Ttl;
use cachesweeper_core::store::memcached::{MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::{Action, Op, Reply, Store};

/// What a server does on a connection once it was asked something.
#[derive(Clone)]
enum Says {
    /// These bytes, then the end.
    Once(Vec<u8>),
    /// These bytes, then nothing more, and no end.
    Hangs(Vec<u8>),
    /// The first once, then the second for as long as somebody listens.
    Endless(Vec<u8>, Vec<u8>),
    /// The first, and the second 50 ms later.
    Later(Vec<u8>, Vec<u8>),
    /// One byte every 20 ms.
    Drips(Vec<u8>),
}

struct Hostile {
    address: String,
    sent: Arc<AtomicU64>,
}

const GREETING: &[u8] = b"VERSION 1.6.21\r\nSTAT item_size_max 1048576\r\nEND\r\n";

impl Hostile {
    /// Greets as a memcached does, then says this to every other question.
    fn polite(says: Says) -> Self {
        Self::new(Says::Once(GREETING.to_vec()), says)
    }

    /// Says `greeting` to who asks for its version, and `then` to all others.
    fn new(greeting: Says, then: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (greeting, then, counter) = (greeting.clone(), then.clone(), counter.clone());
                // Ends with an error as soon as the other side has had enough.
                std::thread::spawn(move || drop(Self::say(stream.unwrap(), &greeting, &then, &counter)));
            }
        });
        Self { address, sent }
    }

    fn say(mut stream: TcpStream, greeting: &Says, then: &Says, sent: &AtomicU64) -> std::io::Result<()> {
        let mut buffer = [0; 64 << 10];
        let asked = stream.read(&mut buffer)?;
        let says = match &buffer[..asked] {
            [] => return Ok(()),
            [b'v', b'e', b'r', ..] => greeting,
            _ => then,
        };
        let mut write = |bytes: &[u8]| {
            stream.write_all(bytes)?;
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            std::io::Result::Ok(())
        };
        match says {
            Says::Once(bytes) => write(bytes)?,
            Says::Hangs(bytes) => {
                write(bytes)?;
                while stream.read(&mut buffer)? > 0 {}
            }
            Says::Endless(first, more) => {
                write(first)?;
                loop {
                    write(more)?;
                }
            }
            Says::Later(first, more) => {
                write(first)?;
                std::thread::sleep(Duration::from_millis(50));
                write(more)?;
                while stream.read(&mut buffer)? > 0 {}
            }
            Says::Drips(bytes) => {
                for byte in bytes {
                    write(&[*byte])?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }

    fn options(&self) -> MemcachedOptions {
        MemcachedOptions { servers: vec![self.address.clone()], timeout: Duration::from_millis(300) }
    }
}

const DAY: Ttl = Ttl::days(1);

/// One operation of every kind.
fn all_kinds() -> Vec<Op> {
    let value = Bytes::from_static(b"value");
    let actions = [
        Action::Get,
        Action::Append(value.clone(), DAY),
        Action::Add(value.clone(), DAY),
        Action::Set(value.clone(), DAY),
        Action::Replace(value.clone(), value, DAY),
        Action::GetForWrite,
        Action::Delete,
    ];
    actions.into_iter().map(|action| Op { node: 0, key: "t/t/comment:1".into(), action }).collect()
}

/// Runs the batch on the blocking and on the async store; a store that never answers fails the test.
fn both(server: &Hostile, batch: fn() -> Vec<Op>) -> Vec<Vec<Reply>> {
    both_with(server.options(), batch)
}

fn both_with(options: MemcachedOptions, batch: fn() -> Vec<Op>) -> Vec<Vec<Reply>> {
    let (done, answers) = mpsc::channel();
    std::thread::spawn(move || {
        done.send(MemcachedStore::new(&options).run(&batch())).unwrap();
        #[cfg(feature = "tokio")]
        {
            use cachesweeper_core::store::AsyncStore as _;
            let store = cachesweeper_core::store::memcached::AsyncMemcachedStore::new(&options);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            done.send(runtime.block_on(store.run(&batch()))).unwrap();
        }
    });
    let count = if cfg!(feature = "tokio") { 2 } else { 1 };
    let answers: Vec<_> =
        (0..count).map(|_| answers.recv_timeout(Duration::from_secs(60)).expect("it answers, and does not panic")).collect();
    assert!(answers.iter().all(|replies| replies.len() == batch().len()));
    answers
}

fn is_failure(reply: &Reply) -> bool {
    matches!(reply, Reply::Failed(error) if error.down && error.cause.len() < 400 && !error.cause.contains(char::is_control))
}

/// What no memcached says: the node counts as down, with one short line as the cause.
#[test]
fn nonsense_is_a_failure_of_the_node() {
    let nonsense: [&[u8]; 21] = [
        b"",
        b"\r\n",
        b"\0\0\0\0\0\0\0\0\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"-ERR unknown command 'mg'\r\n",
        b"\x1b[31mHD O0\x07\n",
        b"VA\r\n",
        b"VA -1 O0\r\nx\r\n",
        b"VA 18446744073709551615 O0\r\nx\r\n",
        b"VA 18446744073709551617 O0\r\nx\r\n",
        b"VA 10737418240 O0\r\nx\r\n",
        // Shorter and longer than it says.
        b"VA 9 f0 O0\r\nx\r\n",
        b"VA 1 f0 O0\r\nxxxxxxxx\r\n",
        // Another operation's answer.
        b"VA 5 f0 O3\r\nvalue\r\n",
        b"EN\r\n",
        // The same of reads.
        b"VALUE t/t/comment:1 0 9\r\nx\r\nEND\r\n",
        b"VALUE t/t/comment:1 0 1\r\nxxxxxxxx\r\nEND\r\n",
        b"VALUE t/t/comment:1 0 18446744073709551617\r\nx\r\nEND\r\n",
        b"VALUE t/t/comment:1 0 10737418240\r\nx\r\n",
        b"VALUE t/t/comment:2 0 1\r\nx\r\nEND\r\n",
        &[0xff; 70_000],
    ];
    for bytes in nonsense {
        let server = Hostile::polite(Says::Once(bytes.to_vec()));
        for replies in both(&server, || vec![Op::get(0, "t/t/comment:1"), Op::get(0, "t/f/f/~/comment:1")]) {
            assert!(replies.iter().all(is_failure), "{:?}: {replies:?}", String::from_utf8_lossy(bytes));
        }
        for replies in both(&server, all_kinds) {
            assert!(!replies.iter().any(|reply| matches!(reply, Reply::Value(_) | Reply::Done)), "{replies:?}");
        }
    }
}

/// Fewer answers than questions, or more: what was answered counts, the rest has failed, and nothing stays in the connection
/// for the next question.
#[test]
fn answers_that_are_too_few_or_too_many_are_told_apart() {
    let three = || {
        let mut ops: Vec<Op> = (1..=3).map(|id| Op::get(0, format!("t/t/comment:{id}"))).collect();
        ops.iter_mut().for_each(|op| op.action = Action::GetForWrite);
        ops
    };
    for replies in both(&Hostile::polite(Says::Once(b"VA 1 f0 O0\r\na\r\nEN O1\r\n".to_vec())), three) {
        assert_eq!(replies[..2], [Reply::Value(Bytes::from_static(b"a")), Reply::No]);
        assert!(is_failure(&replies[2]), "{replies:?}");
    }
    let spare = b"VA 1 f0 O0\r\na\r\nEN O1\r\nEN O2\r\nVA 6 f0 O0\r\nforged\r\nVA 6 f0 O1\r\nforged\r\n";
    let server = Hostile::polite(Says::Hangs(spare.to_vec()));
    let store = MemcachedStore::new(&server.options());
    for _ in 0..3 {
        let replies = store.run(&three());
        assert_eq!(replies, [Reply::Value(Bytes::from_static(b"a")), Reply::No, Reply::No]);
    }
}

/// The same of reads. Their answer has an end: before it, nothing counts, since the last of it tells whether the rest can be
/// believed; and what comes after it is not taken for the next one.
#[test]
fn reads_that_are_cut_off_or_too_long_count_for_nothing() {
    let three = || (1..=3).map(|id| Op::get(0, format!("t/t/comment:{id}"))).collect::<Vec<_>>();
    for replies in both(&Hostile::polite(Says::Once(b"VALUE t/t/comment:1 0 1\r\na\r\n".to_vec())), three) {
        assert!(replies.iter().all(is_failure), "{replies:?}");
    }
    let forged = b"VALUE t/t/comment:1 0 6\r\nforged\r\nEND\r\n";
    let spare = [&b"VALUE t/t/comment:2 0 1\r\na\r\nEND\r\n"[..], forged].concat();
    for replies in both(&Hostile::polite(Says::Hangs(spare)), three) {
        assert!(replies.iter().all(is_failure), "{replies:?}");
    }
    let server = Hostile::polite(Says::Later(b"VALUE t/t/comment:2 0 1\r\na\r\nEND\r\n".to_vec(), forged.to_vec()));
    let store = MemcachedStore::new(&server.options());
    for _ in 0..3 {
        assert_eq!(store.run(&three()), [Reply::No, Reply::Value(Bytes::from_static(b"a")), Reply::No]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Neither an endless answer nor one that never comes takes longer than the time-out, nor more memory than arrives in it: the server
/// is hung up on. (The exchange is one of many pieces, and the rest is not even asked.)
#[test]
fn endless_and_slow_answers_are_cut_off() {
    let endless: [(&[u8], &[u8]); 6] =
        [(b"", b"VA "), (b"HD O0 ", b"x"), (b"VA 1073741824 f0 O0\r\n", b"x"), (b"", b"HD O0\r\n"), (b"", b"\0"), (b"EN O0\r\n", b"\r\n")];
    let endless = endless.map(|(first, more)| Says::Endless(first.to_vec(), more.repeat(4096)));
    let slow = [Says::Hangs(Vec::new()), Says::Hangs(b"VA 5 f0 O0\r\nva".to_vec()), Says::Drips(b"VA 5 f0 O0\r\nvalue\r\n".repeat(99))];
    for says in endless.into_iter().chain(slow) {
        let server = Hostile::polite(says);
        for replies in both(&server, all_kinds) {
            // A deletion is the last operation, and gets none of these answers.
            assert!(is_failure(&replies[6]), "{replies:?}");
            assert!(!replies[1..].iter().any(|reply| matches!(reply, Reply::Value(_) | Reply::Done)), "{replies:?}");
        }
        let hung_up = || {
            let before = server.sent.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
            before == server.sent.load(Ordering::Relaxed)
        };
        assert!((0..100).any(|_| hung_up()), "somebody still listens");
    }
}

/// While one node is waited for, the others' time goes by too; but what they have said meanwhile is read.
#[test]
fn a_silent_node_takes_no_other_down_with_it() {
    let silent = || Hostile::polite(Says::Hangs(Vec::new()));
    let (first, sound, last) = (silent(), Hostile::polite(Says::Hangs(b"END\r\n".to_vec())), silent());
    let servers = [&first, &sound, &last].map(|server| server.address.clone()).to_vec();
    let options = MemcachedOptions { servers, timeout: Duration::from_millis(300) };
    for replies in both_with(options, || (0..3).map(|node| Op::get(node, "t/t/comment:1")).collect()) {
        assert!(is_failure(&replies[0]) && replies[1] == Reply::No && is_failure(&replies[2]), "{replies:?}");
    }
}

/// The greeting is read from a stranger: nothing in it is believed beyond its version and a size.
#[test]
fn greetings_are_bounded_too() {
    let after = Says::Once(b"EN O0\r\n".to_vec());
    let get = || vec![Op::get(0, "t/t/comment:1")];
    for greeting in
        [&b"VERSION 99999999999.1\r\n"[..], b"VERSION \r\n", b"VERSION\r\n", b"STAT pid 1\r\n", &[b'V'; 100_000], b"VERSION \x1b[2J\r\n"]
    {
        for replies in both(&Hostile::new(Says::Once(greeting.to_vec()), Says::Once(greeting.to_vec())), get) {
            assert!(is_failure(&replies[0]), "{replies:?}");
        }
    }
    let endless = Says::Endless(b"VERSION 1.6.21\r\n".to_vec(), b"STAT a 1\r\n".repeat(1_000));
    for says in
        [endless, Says::Hangs(b"VERSION 1.6.21\r\n".to_vec()), Says::Drips(b"VERSION 1.6.21\r\n".repeat(99)), Says::Hangs(Vec::new())]
    {
        // The size is a convenience: a server that never ends telling its settings is taken for one with the default.
        let server = Hostile::new(says.clone(), after.clone());
        drop(both(&server, get));
    }
    for size in ["-1", "0", "18446744073709551616", "x", ""] {
        let greeting = format!("VERSION 1.6.21\r\nSTAT item_size_max {size}\r\nEND\r\n").into_bytes();
        let server = Hostile::new(Says::Once(greeting), after.clone());
        let replies = MemcachedStore::new(&server.options()).run(&[Op {
            node: 0,
            key: "k".into(),
            action: Action::Set(vec![b'x'; 3 << 20].into(), DAY),
        }]);
        assert_eq!(replies, [Reply::TooLarge]);
    }
}
