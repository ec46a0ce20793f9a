//! A tuple struct is no model. Its use is not reported as well.

use cachesweeper_seaorm::{CacheSweep, Sweeper};

#[derive(CacheSweep)]
pub struct Model(i32);

fn main() {
    let sweeper = Sweeper::builder().memory(64 << 20).build().unwrap();
    sweeper.fragment(&Model(1), "note.html");
}
