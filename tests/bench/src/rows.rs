//! Rows of about 1 KiB, what is rendered of them, and the items that a page of them consists of in the store.

use cachesweeper_core::digest::{DigestColumn, RowDigest};
use cachesweeper_core::keys::{Namespace, store_key};
use cachesweeper_core::registry::Entity;
use cachesweeper_core::{CacheSweep, Dependencies, Dependency, KeyLookup, Micros, RecordKey, Row, Strategy};

use crate::entities::{ARTICLE, COMMENT, NOTE};

/// The namespace of all benchmarks.
pub const NAMESPACE: &str = "bench";
/// The name of comments' fragments.
pub const COMMENT_HTML: &str = "comment.html";

/// Bytes of a rendered fragment.
pub const BODY: usize = 1 << 10;

macro_rules! row {
    ($(#[$meta:meta])* $name:ident of $entity:ident: $($column:ident: $type:ty),+; $($updated_at:ident)?) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(#[doc = "A column."] pub $column: $type,)+
            $(#[doc = "When it was last changed, in microseconds since 1970."] pub $updated_at: u64,)?
        }

        impl CacheSweep for $name {
            fn entity() -> &'static Entity {
                &$entity
            }

            fn record_key(&self) -> RecordKey {
                RecordKey::new($entity.name(), self.id)
            }

            fn row_digest(&self) -> u128 {
                let mut row = RowDigest::new();
                $(self.$column.digest_into(&mut row);)+
                $(self.$updated_at.digest_into(&mut row);)?
                row.finish()
            }

            fn updated_at(&self) -> Option<Micros> {
                let at: &[Micros] = &[$(Micros(self.$updated_at))?];
                at.first().copied()
            }
        }

        impl Dependencies for $name {
            fn collect_into(&self, out: &mut Vec<Dependency>) {
                out.push(Row::dependency(self));
            }
        }
    };
}

row! {
    /// A row of the counter strategy, on top of the graph.
    Article of ARTICLE: id: i64, title: String, text: String, shown: bool;
}
row! {
    /// A row of the counter strategy.
    Comment of COMMENT: id: i64, article_id: i64, author: String, text: String, likes: i32, shown: bool;
}
row! {
    /// A row with a timestamp for its version.
    Note of NOTE: id: i64, author: String, text: String, likes: i32, shown: bool; updated_at
}

impl KeyLookup for Article {}
impl KeyLookup for Comment {}

fn text(id: i64) -> String {
    let mut text = format!("What row {id} says. ");
    while text.len() < 960 {
        text.push_str("Lorem ipsum dolor sit amet, consectetur adipiscing elit. ");
    }
    text.truncate(960);
    text
}

/// The article of a page.
pub fn article() -> Article {
    Article { id: 7, title: "On caching".into(), text: text(7), shown: true }
}

/// This many comments.
pub fn comments(count: usize) -> Vec<Comment> {
    let row = |id| Comment { id, article_id: 7, author: "somebody".into(), text: text(id), likes: 3, shown: true };
    (1..).map(row).take(count).collect()
}

/// This many notes, last changed long ago: a page may store what it renders of them.
pub fn notes(count: usize) -> Vec<Note> {
    const LONG_AGO: u64 = 1_700_000_000_000_000;
    let row = |id| Note { id, author: "somebody".into(), text: text(id), likes: 3, shown: true, updated_at: LONG_AGO };
    (1..).map(row).take(count).collect()
}

/// Rendered output of this many bytes.
pub fn body(bytes: usize) -> String {
    let mut html = String::with_capacity(bytes + 64);
    while html.len() < bytes {
        html.push_str("<p class=\"comment\">Lorem ipsum dolor sit amet.</p>\n");
    }
    html.truncate(bytes);
    html
}

/// The store keys that a lookup of these rows' fragments reads on one memcached: logs, fragments, the marker.
pub fn items<T: CacheSweep>(rows: &[T], name: &str) -> Vec<String> {
    let namespace = Namespace::new(NAMESPACE);
    let mut keys = Vec::with_capacity(rows.len() * 2 + 1);
    if T::entity().info().strategy == Strategy::Counter {
        keys.extend(rows.iter().map(|row| namespace.log(&row.record_key()).to_string()));
    }
    keys.extend(rows.iter().map(|row| store_key(&namespace.fragment(name, &[Row::dependency(row)], &[])).to_string()));
    keys.push(namespace.marker().to_string());
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_logs_its_fragments_and_the_marker() {
        assert_eq!(items(&comments(1), "c"), ["bench/t/comment:1", "bench/f/c/comment:1", "bench/b"]);
        assert_eq!(items(&notes(1), "n"), ["bench/f/n/note:1", "bench/b"]);
    }

    #[test]
    fn the_digest_sees_every_column() {
        let row = &notes(1)[0];
        let changed = Note { updated_at: row.updated_at + 1, ..row.clone() };
        assert_ne!(row.row_digest(), changed.row_digest());
        assert_eq!(row.updated_at(), Some(Micros(1_700_000_000_000_000)));
        assert_eq!(comments(1)[0].updated_at(), None);
    }
}
