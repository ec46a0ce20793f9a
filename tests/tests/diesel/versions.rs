//! Versions of all types that Diesel has for instants, versions that are NULL, and sessions in other time zones.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::Backend;
use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use crate::bench::{each_database, raw_article, raw_comment, version};

/// A table with a version of this type, and one below it.
macro_rules! versioned {
    ($module:ident, $table:ident, $below:ident, $sql:ty, $rust:ty) => {
        mod $module {
            use super::*;

            diesel::table! {
                $table (id) {
                    id -> BigInt,
                    note -> Text,
                    changed_at -> $sql,
                }
            }

            diesel::table! {
                $below (id) {
                    id -> BigInt,
                    above_id -> BigInt,
                }
            }

            #[derive(Clone, Debug, Queryable, Identifiable, Insertable, CacheSweep)]
            #[diesel(table_name = $table)]
            #[sweep(using = "changed_at")]
            pub(super) struct Above {
                pub(super) id: i64,
                pub(super) note: String,
                pub(super) changed_at: $rust,
            }

            #[derive(Clone, Debug, Queryable, Identifiable, Associations, CacheSweep)]
            #[diesel(table_name = $below, belongs_to(Above))]
            pub(super) struct Below {
                pub(super) id: i64,
                pub(super) above_id: i64,
            }
        }
    };
}

versioned!(postgres_zoned, zoned_on_postgres, below_zoned_on_postgres, Timestamptz, DateTime<Utc>);
versioned!(sqlite_zoned, zoned_on_sqlite, below_zoned_on_sqlite, TimestamptzSqlite, DateTime<Utc>);
versioned!(mysql_datetime, datetime_on_mysql, below_datetime_on_mysql, Datetime, NaiveDateTime);
versioned!(nullable, perhaps, below_perhaps, Nullable<Timestamp>, Option<NaiveDateTime>);

/// Makes the tables, and writes to them in every way that stamps.
macro_rules! rises {
    ($bench:ident, $conn:ident, $module:ident, $table:ident, $below:ident, $type:literal, $first:expr) => {{
        use $module::{Above, $below, $table};
        let text = if $bench.database.backend == Backend::MySql { "VARCHAR(100)" } else { "TEXT" };
        $bench.database.run(&format!(
            concat!(
                "CREATE TABLE ",
                stringify!($table),
                " (id BIGINT PRIMARY KEY, note {text} NOT NULL, changed_at ",
                $type,
                "); CREATE TABLE ",
                stringify!($below),
                " (id BIGINT PRIMARY KEY, above_id BIGINT NOT NULL)"
            ),
            text = text
        ));
        let sweeper = &$bench.sweeper;
        let row = Above { id: 1, note: "a".into(), changed_at: $first };
        assert_eq!(sweeper.insert_and_sweep($conn, $table::table, &row), Ok(1));
        let load = |conn: &mut Conn| $table::table.find(1).first::<Above>(conn).expect("the row");
        let mut last = load($conn);
        for round in 0..5_i64 {
            $bench.fill(&last);
            assert_eq!(sweeper.insert_and_sweep($conn, $below::table, ($below::id.eq(round), $below::above_id.eq(1))), Ok(1));
            let touched = load($conn);
            assert!(touched.changed_at > last.changed_at, "{:?} after {:?}", touched.changed_at, last.changed_at);
            $bench.is_gone("the row, after a touch", &touched);
            assert_eq!(sweeper.update_and_sweep($conn, $table::table.find(1), $table::note.eq(format!("{round}"))), Ok(1));
            last = load($conn);
            assert!(last.changed_at > touched.changed_at, "{:?} after {:?}", last.changed_at, touched.changed_at);
            $bench.is_gone("the row, after an update", &last);
        }
        last.changed_at
    }};
}

fn is_now(at: DateTime<Utc>) {
    assert!((Utc::now() - at).num_seconds().abs() < 60, "{at} is not the time in UTC");
}

each_database! {
    [postgres]
    fn with_a_zone_on_postgres(bench, conn) {
        is_now(rises!(bench, conn, postgres_zoned, zoned_on_postgres, below_zoned_on_postgres, "TIMESTAMPTZ NOT NULL", Utc::now()));
    }

    [sqlite]
    fn with_a_zone_on_sqlite(bench, conn) {
        is_now(rises!(bench, conn, sqlite_zoned, zoned_on_sqlite, below_zoned_on_sqlite, "TEXT NOT NULL", Utc::now()));
    }

    [mysql]
    fn datetimes_on_mysql(bench, conn) {
        let last =
            rises!(bench, conn, mysql_datetime, datetime_on_mysql, below_datetime_on_mysql, "DATETIME(6) NOT NULL", Utc::now().naive_utc());
        is_now(last.and_utc());
    }

    [mysql]
    fn datetimes_of_milliseconds_on_mysql(bench, conn) {
        let last =
            rises!(bench, conn, mysql_datetime, datetime_on_mysql, below_datetime_on_mysql, "DATETIME(3) NOT NULL", Utc::now().naive_utc());
        is_now(last.and_utc());
    }

    [sqlite]
    fn that_are_null_at_first_on_sqlite(bench, conn) {
        is_now(rises!(bench, conn, nullable, perhaps, below_perhaps, "TEXT NULL", None).expect("a version by now").and_utc());
    }

    [postgres]
    fn that_are_null_at_first_on_postgres(bench, conn) {
        is_now(rises!(bench, conn, nullable, perhaps, below_perhaps, "TIMESTAMP NULL", None).expect("a version by now").and_utc());
    }

    [mysql]
    fn that_are_null_at_first_on_mysql(bench, conn) {
        is_now(rises!(bench, conn, nullable, perhaps, below_perhaps, "DATETIME(6) NULL", None).expect("a version by now").and_utc());
    }

    [postgres mysql]
    fn in_sessions_of_other_time_zones(bench, conn) {
        use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
        let a = raw_article(conn, "a");
        let c = raw_comment(conn, a, "x");
        let other = &mut bench.connect::<Conn>();
        let set = if bench.database.backend == Backend::Postgres { "SET TIME ZONE 'Asia/Tokyo'" } else { "SET time_zone = '+09:00'" };
        other.batch_execute(set).expect("the zone");
        for round in 0..4 {
            let writer = if round % 2 == 0 { &mut *other } else { &mut *conn };
            bench.touches(writer, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(c), comment::body.eq(format!("{round}"))), Ok(1));
            });
            is_now(version(writer, a).and_utc());
            bench.touches(writer, &[a], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, article::table.find(a), article::title.eq(format!("{round}"))), Ok(1));
            });
            is_now(version(writer, a).and_utc());
        }
    }
}
