//! A fragment depends on rows whose struct derives `CacheSweep`.

#[derive(Debug)]
struct Note {
    id: i32,
}

fn main() {
    let sweeper = cachesweeper_diesel::Sweeper::builder().memory(64 << 20).build().unwrap();
    let row = Note { id: 1 };
    sweeper.fragment(&row, "note.html");
    sweeper.fragments(&[row], "note.html");
}
