//! A process that stood still finds its time-outs run out when it goes on, or its reads interrupted. Its nodes are well all the same.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cachesweeper_core::Ttl;
use cachesweeper_core::store::memcached::{AsyncMemcachedStore, MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::{Action, AsyncStore as _, Op, Reply, Store as _};
use cachesweeper_tests::Memcached;
use rustix::process::{Pid, Signal, kill_process};

/// Says to this program, started once more, on which server to work, and how.
const SERVER: &str = "CACHESWEEPER_TEST_STANDSTILL_SERVER";
const FACE: &str = "CACHESWEEPER_TEST_STANDSTILL_FACE";

// Longer than a busy machine keeps a process waiting.
const TIMEOUT: Duration = Duration::from_secs(1);
const WORK: Duration = Duration::from_secs(13);

/// A mark as a writer sends it, and a lookup. The log stays: a new log's head is not sent twice, see `may_repeat` of the stores.
fn batches() -> [Vec<Op>; 2] {
    let op = |key: &str, action| Op { node: 0, key: key.into(), action };
    let [head, mark] = [&b"="[..], b"+"].map(Bytes::from_static);
    let log = "t/t/comment:1";
    [
        vec![op(log, Action::Append(mark, Ttl::days(1))), op(log, Action::Add(head, Ttl::days(1)))],
        vec![op(log, Action::Get), op("t/f/comment.html/comment:1", Action::Get)],
    ]
}

/// Works for as long as it is told to, and tells how often it asked and what failed.
///
/// More threads than cores, so that a stop finds some of them before they have sent what they ask, and some after.
fn work(server: String, face: &str) {
    let options = MemcachedOptions { servers: vec![server], timeout: TIMEOUT };
    let (blocking, waiting) = (MemcachedStore::new(&options), AsyncMemcachedStore::new(&options));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let until = Instant::now() + WORK;
    let work = || {
        let (mut asked, mut failed) = (0_u64, Vec::new());
        while Instant::now() < until {
            for batch in batches() {
                let replies = if face == "async" { runtime.block_on(waiting.run(&batch)) } else { blocking.run(&batch) };
                failed.extend(replies.into_iter().filter(|reply| matches!(reply, Reply::Failed(_))));
                asked += 1;
            }
        }
        (asked, failed)
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let (asked, failed) = (all.iter().map(|(asked, _)| asked).sum::<u64>(), all.iter().flat_map(|(_, failed)| failed).collect::<Vec<_>>());
    println!("asked {asked}, failed {failed:?}");
}

fn stopped_and_let_go_on(face: &str, test: &str) {
    if let Ok(server) = std::env::var(SERVER) {
        return work(server, &std::env::var(FACE).expect("set with the server"));
    }
    let Some(server) = Memcached::start(&["-m", "64"]) else { return };
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture"]).env(SERVER, server.address()).env(FACE, face);
    let child = command.stdout(Stdio::piped()).spawn().expect("started once more");
    let pid = Pid::from_child(&child);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        kill_process(pid, Signal::STOP).expect("stopped");
        std::thread::sleep(3 * TIMEOUT);
        kill_process(pid, Signal::CONT).expect("let go on");
    }
    // Short stops interrupt what the process waits for.
    for _ in 0..40 {
        kill_process(pid, Signal::STOP).expect("stopped");
        std::thread::sleep(Duration::from_millis(5));
        kill_process(pid, Signal::CONT).expect("let go on");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{output:?}");
    let output = String::from_utf8(output.stdout).expect("text");
    let told = output.lines().find(|line| line.contains("asked ")).expect("it tells");
    assert!(told.ends_with("failed []") && !told.contains("asked 0"), "{told}");
}

#[test]
fn a_blocking_process_that_stood_still_takes_no_node_for_down() {
    stopped_and_let_go_on("blocking", "a_blocking_process_that_stood_still_takes_no_node_for_down");
}

#[test]
fn an_async_process_that_stood_still_takes_no_node_for_down() {
    stopped_and_let_go_on("async", "an_async_process_that_stood_still_takes_no_node_for_down");
}
