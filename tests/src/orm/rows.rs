//! The site's rows, as behaviours see them. Each comes from a row of an ORM, whose dependency it keeps: a fragment of it is a
//! fragment of that row.

use cachesweeper_core::{Dependencies, Dependency, RecordKey};
use chrono::NaiveDateTime;

macro_rules! rows {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "columns")]
        pub struct $name {
            $(pub $field: $type,)*
            /// What a fragment of the row depends on.
            pub on: Dependency,
        }

        impl $name {
            /// The row's key.
            pub fn record_key(&self) -> RecordKey {
                self.on.record.clone()
            }
        }

        impl Dependencies for $name {
            fn collect_into(&self, out: &mut Vec<Dependency>) {
                out.push(self.on.clone());
            }
        }
    )*};
}

rows! {
    /// Versioned by its own column, and as a collection.
    Article { id: i64, title: String, views: i32, updated_at: NaiveDateTime }
    /// Versioned by a counter; below an article, and below another comment if it is a reply.
    Comment { id: i64, article_id: Option<i64>, parent_id: Option<i64>, body: String, views: i32 }
    /// Below a comment; each voter once.
    Vote { id: i64, comment_id: i64, voter: String }
    /// Named by text, which some databases compare without regard to case.
    Tag { name: String, note: String }
    /// Below an article and a tag; its key has two parts.
    Label { article_id: i64, tag_name: String, weight: i32 }
    /// Versioned by a column that keeps whole seconds.
    Coarse { id: i64, body: String, changed_at: NaiveDateTime }
}

/// Makes a row of an ORM's row, both ways.
macro_rules! from_row {
    ($($name:ident <=> $row:path { $($field:ident),* };)*) => {$(
        impl From<$row> for $crate::orm::$name {
            fn from(row: $row) -> Self {
                let on = cachesweeper_core::Row::dependency(&row);
                Self { $($field: row.$field,)* on }
            }
        }

        impl From<&$crate::orm::$name> for $row {
            fn from(row: &$crate::orm::$name) -> Self {
                Self { $($field: row.$field.clone(),)* }
            }
        }
    )*};
}

pub(crate) use from_row;
