//! Digests of rows: every column counts, whatever its type.

use std::collections::HashSet;

use cachesweeper_seaorm::CacheSweep;
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum Mood {
    #[sea_orm(string_value = "good")]
    Good,
    #[sea_orm(string_value = "bad")]
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i32", db_type = "Integer")]
pub enum Level {
    #[sea_orm(num_value = 1)]
    Low,
    #[sea_orm(num_value = 2)]
    High,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveValueType)]
pub struct Cents(pub i64);

#[derive(Clone, Debug, PartialEq, Eq, DeriveValueType)]
pub struct Label(pub String);

mod row {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    use super::{Cents, Label, Level, Mood};

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "digest_row")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub tiny: i8,
        pub small: i16,
        pub int: i32,
        pub unsigned: u32,
        pub float: f32,
        pub double: f64,
        pub flag: bool,
        pub text: String,
        pub more_text: String,
        pub bytes: Vec<u8>,
        pub maybe: Option<i32>,
        pub maybe_text: Option<String>,
        pub mood: Mood,
        pub level: Level,
        pub maybe_mood: Option<Mood>,
        pub price: Cents,
        pub label: Label,
        pub maybe_price: Option<Cents>,
        pub uuid: Uuid,
        pub date: ChronoDate,
        pub clock: ChronoTime,
        pub at: ChronoDateTime,
        pub zoned: ChronoDateTimeWithTimeZone,
        pub other_date: TimeDate,
        pub other_at: TimeDateTimeWithTimeZone,
        #[sweep(skip)]
        pub views: i64,
    }
}

fn sample() -> row::Model {
    let at = ChronoDateTimeUtc::from_timestamp(1_000_000_000, 0).expect("in range");
    let other = TimeDateTimeWithTimeZone::from_unix_timestamp(1_000_000_000).expect("in range");
    row::Model {
        id: 1,
        tiny: 1,
        small: 1,
        int: 1,
        unsigned: 1,
        float: 1.0,
        double: 1.0,
        flag: false,
        text: "ab".into(),
        more_text: "c".into(),
        bytes: vec![1, 2],
        maybe: None,
        maybe_text: None,
        mood: Mood::Good,
        level: Level::Low,
        maybe_mood: None,
        price: Cents(1),
        label: Label("a".into()),
        maybe_price: None,
        uuid: Uuid::from_u128(1),
        date: at.date_naive(),
        clock: at.time(),
        at: at.naive_utc(),
        zoned: at.fixed_offset(),
        other_date: other.date(),
        other_at: other,
        views: 1,
    }
}

#[test]
fn every_column_counts() {
    let base = sample();
    let next = base.zoned + std::time::Duration::from_secs(86_401);
    let changes: &[fn(&mut row::Model, ChronoDateTimeWithTimeZone)] = &[
        |row, _| row.id = 2,
        |row, _| row.tiny = 2,
        |row, _| row.small = 2,
        |row, _| row.int = 2,
        |row, _| row.unsigned = 2,
        |row, _| row.float = 2.0,
        |row, _| row.double = 2.0,
        |row, _| row.double = -0.0,
        |row, _| row.flag = true,
        |row, _| row.text = "abc".into(),
        |row, _| row.more_text = String::new(),
        // The same bytes, cut elsewhere.
        |row, _| (row.text, row.more_text) = ("a".into(), "bc".into()),
        |row, _| row.bytes = vec![1],
        |row, _| row.maybe = Some(0),
        |row, _| row.maybe_text = Some(String::new()),
        |row, _| row.mood = Mood::Bad,
        |row, _| row.level = Level::High,
        |row, _| row.maybe_mood = Some(Mood::Good),
        |row, _| row.price = Cents(2),
        |row, _| row.label = Label("b".into()),
        |row, _| row.maybe_price = Some(Cents(1)),
        |row, _| row.uuid = Uuid::from_u128(2),
        |row, next| row.date = next.date_naive(),
        |row, next| row.clock = next.time(),
        |row, next| row.at = next.naive_utc(),
        |row, next| row.zoned = next,
        // The same instant, shown in another zone.
        |row, _| row.zoned = ChronoDateTimeWithTimeZone::parse_from_rfc3339("2001-09-09T02:46:40+01:00").expect("a time"),
        |row, _| row.other_date = row.other_date.next_day().expect("in range"),
        |row, _| row.other_at += std::time::Duration::from_secs(1),
    ];
    let mut digests = HashSet::from([base.row_digest()]);
    for (position, change) in changes.iter().enumerate() {
        let mut row = base.clone();
        change(&mut row, next);
        assert!(digests.insert(row.row_digest()), "change {position} is not seen: {row:?}");
        assert_eq!(row.clone().into_ex().row_digest(), row.row_digest());
    }
}

#[test]
fn equal_rows_are_equal_and_skipped_columns_are_left_out() {
    let base = sample();
    assert_eq!(base.clone().row_digest(), base.row_digest());
    assert_eq!(row::Model { views: 2, ..base.clone() }.row_digest(), base.row_digest());
}
