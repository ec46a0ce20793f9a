//! What a thread logs while a closure runs.

use std::cell::RefCell;
use std::io::Write;
use std::sync::OnceLock;

thread_local! {
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes into what its thread captures, and nowhere if it captures nothing.
struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        CAPTURED.with_borrow_mut(|captured| captured.iter_mut().for_each(|captured| captured.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What this thread logs while `f` runs.
///
/// The subscriber is the whole process's: of one that is a thread's own, tracing may never ask. It asks the thread that is the
/// first to reach a place that logs, keeps that answer for all threads, and "nobody listens" is the answer of a test beside
/// this one.
pub(crate) fn capture(f: impl FnOnce()) -> String {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Captured).init();
        // Places that were reached before somebody listened.
        tracing::callsite::rebuild_interest_cache();
    });
    CAPTURED.set(Some(Vec::new()));
    f();
    String::from_utf8(CAPTURED.take().unwrap_or_default()).expect("logs are text")
}
