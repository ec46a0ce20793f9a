//! What is neither a type that Cachesweeper knows nor has a debug form cannot be in the row's digest.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        mood -> Text,
        secret -> Text,
    }
}

enum Mood {
    Good,
}

#[derive(CacheSweep)]
struct Note {
    id: i32,
    mood: Mood,
    #[sweep(skip)]
    secret: Mood,
}

fn main() {}
