//! Timestamps as versions, in every type that a column can have; and the other attributes of a model.

use cachesweeper_core::Micros;
use cachesweeper_core::digest::TimestampColumn;
use cachesweeper_diesel::{CacheSweep, Collection, KeyLookup, Strategy};

use crate::with_node;

/// The year 2001, as any of the types.
fn then<T: TimestampColumn>() -> T {
    T::from_micros(THEN).expect("in range")
}

const THEN: Micros = Micros(1_000_000_000_123_456);

macro_rules! versions {
    ($($name:ident $table:ident [$($sql:tt)+] [$($type:tt)+];)*) => {$(
        mod $name {
            use cachesweeper_diesel::CacheSweep;

            diesel::table! {
                $table (id) {
                    id -> BigInt,
                    changed -> $($sql)+,
                }
            }

            #[derive(CacheSweep)]
            #[diesel(table_name = $table)]
            #[sweep(using = "updated_at")]
            pub struct Post {
                pub id: i64,
                #[diesel(column_name = changed)]
                pub updated_at: $($type)+,
            }
        }

        #[test]
        fn $name() {
            let post = self::$name::Post { id: 1, updated_at: then() };
            assert_eq!(post.updated_at(), Some(THEN));
            assert_eq!(with_node(stringify!($table), |node| node.strategy), Strategy::UpdatedAt);
        }
    )*};
}

versions! {
    chrono_naive version_naives [Timestamp] [chrono::NaiveDateTime];
    chrono_utc version_utcs [TimestamptzSqlite] [chrono::DateTime<chrono::Utc>];
    chrono_local version_locals [TimestamptzSqlite] [chrono::DateTime<chrono::Local>];
    chrono_option version_options [Nullable<Timestamp>] [Option<chrono::NaiveDateTime>];
    time_primitive version_primitives [Timestamp] [time::PrimitiveDateTime];
    time_offset version_offsets [TimestamptzSqlite] [time::OffsetDateTime];
    time_option version_time_options [Nullable<TimestamptzSqlite>] [Option<time::OffsetDateTime>];
}

#[cfg(feature = "postgres")]
versions! {
    postgres_zoned version_postgres [Timestamptz] [chrono::DateTime<chrono::Utc>];
}

#[cfg(feature = "mysql")]
versions! {
    mysql_datetime version_mysqls [Datetime] [chrono::NaiveDateTime];
}

#[test]
fn null_is_no_version() {
    assert_eq!(chrono_option::Post { id: 1, updated_at: None }.updated_at(), None);
}

mod counted {
    use cachesweeper_diesel::CacheSweep;

    diesel::table! {
        version_counteds (id) {
            id -> BigInt,
            updated_at -> Timestamp,
        }
    }

    /// The column alone makes no version.
    #[derive(CacheSweep)]
    #[diesel(table_name = version_counteds)]
    #[sweep(collection)]
    pub struct Counted {
        pub id: i64,
        pub updated_at: chrono::NaiveDateTime,
    }
}

#[test]
fn without_using_a_version_is_counted() {
    fn by_key<T: KeyLookup + Collection>() {}
    by_key::<counted::Counted>();
    assert_eq!(counted::Counted { id: 1, updated_at: then() }.updated_at(), None);
    assert_eq!(counted::Counted::collection().to_string(), "version_counteds:*");
    assert!(with_node("version_counteds", |node| node.strategy == Strategy::Counter && node.collection));
    assert!(with_node("version_naives", |node| !node.collection));
    assert!(counted::Counted::entity().info().model.ends_with("versions::counted::Counted"));
}
