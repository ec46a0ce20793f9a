//! Record keys: composite ones, and of all types.

use std::borrow::Cow;

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{CacheSweep, Dependencies, KeyColumn, RecordKey};
use diesel::prelude::*;
use uuid::Uuid;

use crate::{look, start};

diesel::table! {
    key_texts (slug) {
        slug -> Text,
        title -> Text,
    }
}

diesel::table! {
    key_bytes (hash) {
        hash -> Binary,
    }
}

diesel::table! {
    key_flags (flag) {
        flag -> Bool,
    }
}

diesel::table! {
    key_memberships (user_id, role) {
        user_id -> BigInt,
        role -> Text,
        since -> Integer,
    }
}

diesel::table! {
    key_wrapped (id) {
        id -> BigInt,
    }
}

diesel::table! {
    key_uuids (id) {
        id -> diesel::sql_types::Binary,
        title -> Text,
    }
}

#[derive(Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = key_texts, primary_key(slug))]
struct Text {
    slug: String,
    title: String,
}

#[derive(Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = key_bytes)]
#[diesel(primary_key(hash))]
struct Bytes {
    hash: Vec<u8>,
}

#[derive(Queryable, CacheSweep)]
#[diesel(table_name = key_flags, primary_key(flag))]
struct Flag {
    flag: bool,
}

/// The key's order is not that of the fields.
#[derive(Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = key_memberships, primary_key(user_id, role))]
struct Membership {
    role: String,
    since: i32,
    #[diesel(column_name = user_id)]
    member: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct WrappedId(i64);

impl KeyColumn for WrappedId {
    fn key_part(&self) -> Cow<'_, str> {
        self.0.key_part()
    }
}

#[derive(Identifiable, CacheSweep)]
#[diesel(table_name = key_wrapped)]
struct Wrapped {
    id: WrappedId,
}

#[derive(CacheSweep)]
#[diesel(table_name = key_uuids)]
struct Unique {
    id: Uuid,
    title: String,
}

#[test]
fn a_key_is_the_table_and_the_id() {
    let text = |slug: &str| Text { slug: slug.into(), title: "t".into() };
    assert_eq!(text("first").record_key().to_string(), "key_texts:first");
    assert_eq!(text("a:b,c d*").record_key(), RecordKey::new("key_texts", "a:b,c d*"));
    assert!(text("*").record_key().is_row());
    assert_eq!(text("first").record_key(), Text::key("first"));

    assert_eq!(Bytes { hash: vec![0, 171, 255] }.record_key().to_string(), "key_bytes:00abff");
    assert_eq!(Flag { flag: true }.record_key().to_string(), "key_flags:true");
    assert_eq!(Wrapped { id: WrappedId(-7) }.record_key(), Wrapped::key(-7));
    let unique = Unique { id: Uuid::from_u128(7), title: "t".into() };
    assert_eq!(unique.record_key().to_string(), "key_uuids:00000000-0000-0000-0000-000000000007");
}

#[test]
fn a_composite_key_has_its_parts_in_the_key_s_order() {
    let member = |member, role: &str| Membership { member, role: role.into(), since: 2000 };
    assert_eq!(member(7, "admin").record_key().to_string(), "key_memberships:7,admin");
    assert_eq!(member(-7, "a,b").record_key(), RecordKey::composite("key_memberships", ["-7", "a,b"]));
    assert_eq!(member(7, "a,b").record_key().id().collect::<Vec<_>>(), ["7", "a,b"]);
}

const TABLES: &str = "
    CREATE TABLE key_texts (slug TEXT PRIMARY KEY, title TEXT NOT NULL);
    CREATE TABLE key_bytes (hash BLOB PRIMARY KEY);
    CREATE TABLE key_flags (flag BOOLEAN PRIMARY KEY);
    CREATE TABLE key_memberships (user_id BIGINT NOT NULL, role TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (user_id, role));
";

#[test]
fn writes_name_rows_as_the_model_does() {
    let (sweeper, mut conn) = start(TABLES);
    let conn = &mut conn;
    let mut sweeps = |row: &dyn Dependencies, other: &dyn Dependencies, write: &dyn Fn(&mut SqliteConnection)| {
        assert_eq!([look(&sweeper, row), look(&sweeper, other)], ["miss", "miss"]);
        write(conn);
        assert_eq!([look(&sweeper, row), look(&sweeper, other)], ["miss", "hit"]);
    };

    let text = |slug: &str| Text { slug: slug.into(), title: "t".into() };
    sweeps(&text("a b,*"), &text("b"), &|conn| {
        let new = (key_texts::slug.eq("a b,*"), key_texts::title.eq("t"));
        sweeper.insert_and_sweep(conn, key_texts::table, new).expect("inserted");
    });
    let bytes = |last| Bytes { hash: vec![0, 171, last] };
    sweeps(&bytes(255), &bytes(0), &|conn| {
        sweeper.insert_and_sweep(conn, key_bytes::table, key_bytes::hash.eq(vec![0_u8, 171, 255])).expect("inserted");
    });
    sweeps(&Flag { flag: true }, &Flag { flag: false }, &|conn| {
        sweeper.insert_and_sweep(conn, key_flags::table, key_flags::flag.eq(true)).expect("inserted");
    });
    let member = |role: &str| Membership { member: 7, role: role.into(), since: 2000 };
    sweeps(&member("admin"), &member("author"), &|conn| {
        use key_memberships::{role, since, user_id};
        let new = (user_id.eq(7), role.eq("admin"), since.eq(2000));
        sweeper.insert_and_sweep(conn, key_memberships::table, new).expect("inserted");
    });
}
