//! The derive stands beside `DeriveEntityModel`.

use cachesweeper_seaorm::CacheSweep;

#[derive(CacheSweep)]
pub struct Model {
    pub id: i32,
}

fn main() {}
