//! What cannot be read in `#[diesel(…)]` is not missed, though no derive of Diesel's is there to report it.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    notes (id) {
        id -> Integer,
        article_id -> Integer,
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = notes, belongs_to(Article, foreign = article_id))]
struct Note {
    id: i32,
    #[diesel(column_name = 1)]
    article_id: i32,
}

#[derive(CacheSweep)]
#[diesel(table_name = notes)]
#[diesel(belongs_to)]
struct Other {
    id: i32,
}

fn main() {}
