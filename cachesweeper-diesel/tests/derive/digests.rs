//! Digests of rows: every field counts, whatever its type.

use std::collections::HashSet;

use cachesweeper_diesel::CacheSweep;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use diesel::prelude::*;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

diesel::table! {
    digest_rows (id) {
        id -> BigInt,
        small -> SmallInt,
        int -> Integer,
        float -> Float,
        double -> Double,
        flag -> Bool,
        text -> Text,
        more_text -> Text,
        bytes -> Binary,
        maybe -> Nullable<Integer>,
        mood -> Text,
        maybe_mood -> Nullable<Text>,
        tags -> Text,
        created_by -> Text,
        edits -> Integer,
        views -> BigInt,
    }
}

diesel::table! {
    digest_times (id) {
        id -> BigInt,
        uuid -> Binary,
        date -> Date,
        clock -> Time,
        at -> Timestamp,
        zoned -> TimestamptzSqlite,
        other_date -> Date,
        other_at -> Timestamp,
        other_zoned -> TimestamptzSqlite,
    }
}

/// Known to Debug alone.
#[derive(Clone, Debug)]
enum Mood {
    Good,
    Bad,
}

/// No Debug: it must be left out.
#[derive(Clone)]
struct Views(i64);

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = digest_rows)]
struct Stamps {
    created_by: String,
    edits: i32,
}

#[derive(Clone, CacheSweep)]
#[diesel(table_name = digest_rows)]
struct Row {
    id: i64,
    small: i16,
    int: i32,
    float: f32,
    double: f64,
    flag: bool,
    text: String,
    more_text: String,
    bytes: Vec<u8>,
    maybe: Option<i32>,
    mood: Mood,
    maybe_mood: Option<Mood>,
    tags: Vec<String>,
    #[diesel(embed)]
    stamps: Stamps,
    #[diesel(select_expression = digest_rows::int + digest_rows::edits)]
    computed: i32,
    #[sweep(skip)]
    views: Views,
    #[diesel(select_expression = digest_rows::views + 1)]
    #[sweep(skip)]
    shown: i64,
}

#[derive(Clone, CacheSweep)]
#[diesel(table_name = digest_times)]
struct Times {
    id: i64,
    uuid: Uuid,
    date: NaiveDate,
    clock: NaiveTime,
    at: NaiveDateTime,
    zoned: DateTime<Utc>,
    other_date: Date,
    other_at: PrimitiveDateTime,
    other_zoned: OffsetDateTime,
}

fn sample() -> Row {
    Row {
        id: 1,
        small: 1,
        int: 1,
        float: 1.0,
        double: 1.0,
        flag: false,
        text: "ab".into(),
        more_text: "c".into(),
        bytes: vec![1, 2],
        maybe: None,
        mood: Mood::Good,
        maybe_mood: None,
        tags: vec!["a".into(), "b".into()],
        stamps: Stamps { created_by: "ann".into(), edits: 1 },
        computed: 2,
        views: Views(1),
        shown: 2,
    }
}

fn times() -> Times {
    let zoned = DateTime::<Utc>::from_timestamp(1_000_000_000, 0).expect("in range");
    let other_zoned = OffsetDateTime::from_unix_timestamp(1_000_000_000).expect("in range");
    Times {
        id: 1,
        uuid: Uuid::from_u128(1),
        date: zoned.date_naive(),
        clock: zoned.time(),
        at: zoned.naive_utc(),
        zoned,
        other_date: other_zoned.date(),
        other_at: PrimitiveDateTime::new(other_zoned.date(), other_zoned.time()),
        other_zoned,
    }
}

fn all_differ<R: CacheSweep + Clone>(base: R, changes: &[fn(&mut R)]) {
    let mut digests = HashSet::from([base.row_digest()]);
    for (position, change) in changes.iter().enumerate() {
        let mut row = base.clone();
        change(&mut row);
        assert!(digests.insert(row.row_digest()), "change {position} is not seen");
    }
}

#[test]
fn every_field_counts() {
    all_differ(
        sample(),
        &[
            |row| row.id = 2,
            |row| row.small = 2,
            |row| row.int = 2,
            |row| row.float = 2.0,
            |row| row.double = 2.0,
            |row| row.double = -0.0,
            |row| row.flag = true,
            |row| row.text = "abc".into(),
            |row| row.more_text = String::new(),
            // The same bytes, cut elsewhere.
            |row| (row.text, row.more_text) = ("a".into(), "bc".into()),
            |row| row.bytes = vec![1],
            |row| row.maybe = Some(0),
            |row| row.mood = Mood::Bad,
            |row| row.maybe_mood = Some(Mood::Good),
            |row| row.tags = vec!["a, b".into()],
            |row| row.stamps.edits = 2,
            |row| row.stamps.created_by = "bob".into(),
            |row| row.computed = 3,
        ],
    );
}

#[test]
fn dates_and_times_count() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    all_differ(
        times(),
        &[
            |row| row.uuid = Uuid::from_u128(2),
            |row| row.date += chrono::TimeDelta::days(1),
            |row| row.clock += chrono::TimeDelta::seconds(1),
            |row| row.at += DAY,
            |row| row.zoned += DAY,
            |row| row.other_date += DAY,
            |row| row.other_at += DAY,
            |row| row.other_zoned += DAY,
        ],
    );
}

#[test]
fn equal_rows_are_equal_and_skipped_fields_are_left_out() {
    let base = sample();
    assert_eq!(base.clone().row_digest(), base.row_digest());
    assert_eq!(Row { views: Views(2), shown: 3, ..base.clone() }.row_digest(), base.row_digest());
}
