//! A unit struct is no model. Its use is not reported as well.

use cachesweeper_seaorm::{CacheSweep, Sweeper};

#[derive(CacheSweep)]
pub struct Model;

fn main() {
    let sweeper = Sweeper::builder().memory(64 << 20).build().unwrap();
    sweeper.fragment(&Model, "note.html");
}
