//! The real memcached store, on a loopback server whose every byte is the input.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cachesweeper_core::Ttl;
use cachesweeper_core::store::memcached::{MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::{Action, Op, Reply, Store};
use cachesweeper_fuzz::Front;
use libfuzzer_sys::fuzz_target;

/// What the server says on its next connections, one after the other.
type Script = Arc<Mutex<std::vec::IntoIter<Vec<u8>>>>;

struct Server {
    script: Script,
    address: String,
}

/// One server for all runs: every connection gets its part of the script, then its end.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let script = Script::default();
        let said = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let part = said.lock().expect("nobody panics with it").next().unwrap_or_default();
                let mut stream = stream;
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                let _ = stream.write_all(&part).and_then(|()| stream.shutdown(Shutdown::Write));
                // What is asked is read to its end: closing earlier would reset the connection and lose the answer.
                let mut rest = [0; 4096];
                while matches!(stream.read(&mut rest), Ok(1..)) {}
            }
        });
        Server { script, address }
    })
}

const GREETING: &[u8] = b"VERSION 1.6.21\r\nSTAT maxbytes 67108864\r\nSTAT item_size_max 1048576\r\nEND\r\n";

fn ops(front: &mut Front<'_>) -> Vec<Op> {
    let bytes = Bytes::from_static(b"value");
    let one = |choice: u8| {
        let action = match choice % 9 {
            0 | 7 | 8 => Action::Get,
            1 => Action::Add(bytes.clone(), Ttl::days(1)),
            2 => Action::Append(bytes.clone(), Ttl::days(1)),
            3 => Action::Set(bytes.clone(), Ttl::days(90)),
            4 => Action::Replace(bytes.clone(), bytes.clone(), Ttl::days(1)),
            5 => Action::Delete,
            _ => Action::GetForWrite,
        };
        Op { node: usize::from(choice == 255), key: format!("t/t/comment:{}", choice / 9).into(), action }
    };
    (0..=front.byte() % 5).map(|_| one(front.byte())).collect()
}

fuzz_target!(|data: &[u8]| {
    let mut front = Front(data);
    let server = server();
    let honest = front.byte() % 8 != 0;
    let ops = ops(&mut front);
    let mut script = Vec::new();
    if honest {
        script.push(GREETING.to_vec());
    }
    // Each connection's part has two bytes of length ahead of it.
    while !front.0.is_empty() && script.len() < 8 {
        let length = usize::from(u16::from_be_bytes([front.byte(), front.byte()])).min(front.0.len());
        let (part, rest) = front.0.split_at(length);
        script.push(part.to_vec());
        front.0 = rest;
    }
    *server.script.lock().expect("nobody panics with it") = script.clone().into_iter();

    let options = MemcachedOptions { servers: vec![server.address.clone()], timeout: Duration::from_secs(2) };
    let replies = MemcachedStore::new(&options).run(&ops);
    assert_eq!(replies.len(), ops.len());
    for (op, reply) in ops.iter().zip(&replies) {
        match reply {
            Reply::Value(value) => {
                assert!(matches!(op.action, Action::Get | Action::GetForWrite), "a value for {op:?}");
                let said = |part: &Vec<u8>| value.is_empty() || part.windows(value.len()).any(|window| window == value);
                assert!(script.iter().any(said), "a value that nobody sent");
            }
            Reply::Done => assert!(op.node == 0),
            Reply::No | Reply::TooLarge => {}
            Reply::Failed(error) => {
                assert!(error.cause.len() <= 400, "{} bytes of an error", error.cause.len());
                assert!(!error.to_string().contains(|letter: char| letter.is_control()), "{error:?}");
            }
        }
    }
});
