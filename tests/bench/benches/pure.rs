//! The paths that do no I/O: their times and allocations.
//!
//! A call goes through a pointer, which is a nanosecond or two of each time.

use std::sync::Arc;

use cachesweeper_bench::paths::{PATHS, named};
use cachesweeper_core::SystemClock;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = PATHS.iter().map(|path| path.name))]
fn pure(bencher: Bencher, path: &str) {
    let path = named(path).expect("it is one of these");
    let mut call = path.make(Arc::new(SystemClock)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    bencher.bench_local(|| call().unwrap_or_else(|error| panic!("{path:?}: {error}")));
}
