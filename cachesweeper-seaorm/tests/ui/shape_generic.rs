//! A model has no generic parameters. Its use is not reported as well.

use cachesweeper_seaorm::{CacheSweep, Sweeper};

#[derive(CacheSweep)]
pub struct Model<T> {
    pub id: T,
}

fn main() {
    let sweeper = Sweeper::builder().memory(64 << 20).build().unwrap();
    sweeper.fragment(&Model { id: 1 }, "note.html");
}
