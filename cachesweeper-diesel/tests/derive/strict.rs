//! What the derive writes is accepted where everything must be documented and used, and out of a `macro_rules!`.

#![deny(missing_docs, unused, unreachable_pub, unused_qualifications, clippy::all)]

use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

use crate::with_node;

#[allow(missing_docs, unused, unreachable_pub, unused_qualifications, clippy::all)]
mod schema {
    diesel::table! {
        strict_rows (id) {
            id -> BigInt,
            r#type -> Text,
            above_id -> Nullable<BigInt>,
            updated_at -> Timestamp,
        }
    }

    diesel::table! {
        strict_links (row_id, to_id) {
            row_id -> BigInt,
            to_id -> BigInt,
        }
    }
}

macro_rules! model {
    ($name:ident of $table:path [$($key:ident),*] $(#[$sweep:meta])* { $($field:ident: $type:ty),* $(,)? } $parent:ty: $foreign:ident) => {
        /// A row.
        #[derive(Clone, Debug, Queryable, CacheSweep)]
        #[diesel(table_name = $table, primary_key($($key),*))]
        #[diesel(belongs_to($parent, foreign_key = $foreign))]
        $(#[$sweep])*
        pub(crate) struct $name {
            $(
                /// A column.
                pub(crate) $field: $type,
            )*
        }
    };
}

model!(Row of schema::strict_rows [id] #[sweep(using = "updated_at", collection, max_depth = 8)] {
    id: i64,
    r#type: String,
    above_id: Option<i64>,
    updated_at: chrono::NaiveDateTime,
} Row: above_id);

model!(Link of crate::strict::schema::strict_links [row_id, to_id] #[sweep(parents(Row))] {
    row_id: i64,
    to_id: i64,
} Row: row_id);

#[test]
fn a_model_from_a_macro_is_one() {
    let row = Row { id: 1, r#type: "a".into(), above_id: None, updated_at: chrono::NaiveDateTime::default() };
    assert_eq!(row.record_key().to_string(), "strict_rows:1");
    assert_ne!(row.row_digest(), Row { r#type: "b".into(), ..row.clone() }.row_digest());
    assert_eq!(with_node("strict_rows", |node| node.parents.clone()), ["strict_rows"]);
    assert_eq!(Link { row_id: 1, to_id: 2 }.record_key().to_string(), "strict_links:1,2");
    assert_eq!(with_node("strict_links", |node| node.parents.clone()), ["strict_rows"]);
}
