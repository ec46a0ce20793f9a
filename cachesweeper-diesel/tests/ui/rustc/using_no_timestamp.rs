//! A version is a timestamp.

use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

diesel::table! {
    notes (id) {
        id -> Integer,
        updated_at -> BigInt,
    }
}

#[derive(Queryable, CacheSweep)]
#[sweep(using = "updated_at")]
struct Note {
    id: i32,
    updated_at: i64,
}

diesel::table! {
    pages (id) {
        id -> Integer,
        updated_at -> Timestamp,
    }
}

#[derive(CacheSweep)]
#[sweep(using = "updated_at")]
struct Page {
    id: i32,
    updated_at: Instant,
}

#[derive(Debug)]
struct Instant(u64);

fn main() {}
