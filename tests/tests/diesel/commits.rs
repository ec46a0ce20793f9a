//! What happens around a COMMIT: ancestors that move meanwhile, readers in between, and transactions that take long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment, vote};
use cachesweeper_tests::orm::diesel::entity::{Comment, NewVote};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;

use crate::bench::{Bench, Open, each_database, raw_article, raw_comment, version, wait_until};
use crate::interrupting::Interrupting;

fn vote(comment: i64, voter: &str) -> NewVote {
    NewVote { comment_id: comment, voter: voter.into() }
}

each_database! {
    fn a_reader_between_the_mark_and_the_commit_stores_nothing(bench, conn) {
        let store = Interrupting::new();
        let Some(bench) = Bench::with(<Conn as Open>::BACKEND, |builder| builder.store(store.clone())) else { return };
        let conn = &mut bench.connect::<Conn>();
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        bench.fill(Comment::key(c));
        static SEEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());
        let sweeper = bench.sweeper.clone();
        store.at_the_next_mark(move || {
            let look = move || {
                let rendered = sweeper.fragment(Comment::key(c), "probe").get_or_render(|| Ok::<_, std::convert::Infallible>("old"));
                rendered.unwrap_or_else(|never| match never {}).outcome().word()
            };
            // In this very thread it would be the transaction's own.
            std::thread::spawn(move || SEEN.lock().expect("no panic").extend([look(), look()])).join().expect("no panic");
        });
        let done: QueryResult<usize> =
            bench.sweeper.transaction(conn, |conn| bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")));
        assert_eq!(done, Ok(1));
        assert_eq!(*SEEN.lock().expect("no panic"), ["bypass", "bypass"]);
        SEEN.lock().expect("no panic").clear();
        bench.is_gone("the comment", Comment::key(c));
    }

    [postgres mysql]
    fn an_ancestor_that_the_row_has_got_meanwhile_is_swept_too(bench, conn) {
        // The vote's comment moves to another article while the vote is about to commit: the writer has not found that article,
        // and the mover has not found the vote.
        let store = Interrupting::new();
        let Some(bench) = Bench::with(<Conn as Open>::BACKEND, |builder| builder.store(store.clone())) else { return };
        let conn = &mut bench.connect::<Conn>();
        let (a, b) = (raw_article(conn, "a"), raw_article(conn, "b"));
        let c = raw_comment(conn, a, "x");
        static MOVED: AtomicBool = AtomicBool::new(false);
        let mover = Mutex::new(bench.connect::<Conn>());
        store.at_the_next_mark(move || {
            // Past the sweeper, so that only the writer can notice.
            let moved =
                diesel::update(comment::table.find(c)).set(comment::article_id.eq(b)).execute(&mut *mover.lock().expect("no panic"));
            assert_eq!(moved, Ok(1));
            MOVED.store(true, Ordering::SeqCst);
        });
        bench.touches(conn, &[a, b], &[], |sweeper, conn| {
            let done: QueryResult<usize> = sweeper.transaction(conn, |conn| sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada")));
            assert_eq!(done, Ok(1));
        });
        assert!(MOVED.load(Ordering::SeqCst));
        assert_eq!(bench.sweeper.stats().sweeps_incomplete, 0);
    }

    fn a_transaction_that_takes_long_stamps_its_rows_anew(bench, conn) {
        // A page takes a version for settled when it is a hold old. This one would be, at the moment it is first seen.
        let a = raw_article(conn, "a");
        let hold = Duration::from_millis(700);
        let mut began = None;
        let done: QueryResult<usize> = bench.sweeper.transaction(conn, |conn| {
            let updated = bench.sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq("early"));
            began = Some(version(conn, a));
            std::thread::sleep(hold);
            updated
        });
        assert_eq!(done, Ok(1));
        let (early, late) = (began.expect("it ran"), version(conn, a));
        assert!(late - early >= chrono::Duration::milliseconds(690), "stamped {} after the update", late - early);
    }

    fn a_commit_that_takes_longer_than_its_hold_is_held_to_its_end(bench, conn) {
        let Some(bench) = Bench::with(<Conn as Open>::BACKEND, |builder| builder.hold(Duration::from_millis(300))) else { return };
        let slow = SlowCommit::default();
        let conn = &mut bench.connect_with::<Conn>(slow.clone());
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        bench.fill(Comment::key(c));
        std::thread::scope(|threads| {
            let reader = threads.spawn(|| {
                wait_until("it is held", || bench.look(Comment::key(c)) == "bypass");
                let began = Instant::now();
                wait_until("it is no longer held", || bench.look(Comment::key(c)) != "bypass");
                (began, Instant::now())
            });
            let done: QueryResult<usize> = bench.sweeper.transaction(conn, |conn| {
                slow.next.store(true, Ordering::SeqCst);
                bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "ada"))
            });
            assert_eq!(done, Ok(1));
            let (began, ended) = reader.join().expect("no panic");
            let sent = slow.sent.lock().expect("no panic").expect("the COMMIT was slow");
            assert!(ended >= sent && ended - began > Duration::from_millis(600), "held for {:?}", ended - began);
        });
        assert!(bench.sweeper.stats().renewals > 0);
        bench.fill(Comment::key(c));
        bench.sweeps(&[Comment::key(c)], &[], || assert_eq!(bench.sweeper.insert_and_sweep(conn, vote::table, vote(c, "bob")), Ok(1)));
    }
}

/// Makes a COMMIT take long: Diesel tells of it before it sends it.
#[derive(Clone, Default)]
struct SlowCommit {
    /// Whether the next one takes long.
    next: Arc<AtomicBool>,
    /// When it was sent at last.
    sent: Arc<Mutex<Option<Instant>>>,
}

impl Instrumentation for SlowCommit {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if matches!(event, InstrumentationEvent::CommitTransaction { .. }) && self.next.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1_000));
            *self.sent.lock().expect("no panic") = Some(Instant::now());
        }
    }
}
