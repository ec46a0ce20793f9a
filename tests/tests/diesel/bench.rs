//! What the tests of Diesel alone share: a database and a sweeper on the memory store, without a runtime around them.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cachesweeper_diesel::{Builder, Dependencies, RecordKey, Sweeper};
use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
use cachesweeper_tests::orm::diesel::entity::{NewArticle, NewComment};
use cachesweeper_tests::orm::diesel::{Conn, Known};
use cachesweeper_tests::site::quick;
use cachesweeper_tests::{Backend, Database, on_conn};
use chrono::NaiveDateTime;
use diesel::connection::Instrumentation;
use diesel::prelude::*;

/// A database and a sweeper.
pub(crate) struct Bench {
    pub(crate) sweeper: Sweeper,
    pub(crate) database: Database,
}

/// One of Diesel's connections, to be opened.
pub(crate) trait Open: Known + Sized {
    const BACKEND: Backend;
    fn open(database: &Database) -> Self;
}

macro_rules! open {
    ($($type:ty => $variant:ident;)*) => {$(
        impl Open for $type {
            const BACKEND: Backend = Backend::$variant;

            fn open(database: &Database) -> Self {
                match Conn::open(database) {
                    Conn::$variant(conn) => conn,
                    _ => unreachable!("the database is of the connection's kind"),
                }
            }
        }
    )*};
}

open! {
    SqliteConnection => Sqlite;
    PgConnection => Postgres;
    MysqlConnection => MySql;
}

impl Bench {
    /// With the site's tables; `None` if the database's server is not named in the environment.
    pub(crate) fn new(backend: Backend) -> Option<Self> {
        Self::with(backend, |builder| builder)
    }

    /// With further settings.
    pub(crate) fn with(backend: Backend, settings: impl FnOnce(Builder<Sweeper>) -> Builder<Sweeper>) -> Option<Self> {
        let database = Database::with_site(backend)?;
        let sweeper = settings(quick(Sweeper::builder()).memory(16 << 20)).build().expect("a sweeper");
        Some(Self { sweeper, database })
    }

    /// A connection.
    pub(crate) fn connect<C: Open>(&self) -> C {
        C::open(&self.database)
    }

    /// A connection with an instrumentation.
    pub(crate) fn connect_with<C: Open>(&self, instrumentation: impl Instrumentation) -> C {
        let mut conn = self.connect::<C>();
        conn.set_instrumentation(instrumentation);
        conn
    }

    /// How a fragment is served; it is filled, if it can be.
    pub(crate) fn look(&self, on: impl Dependencies) -> &'static str {
        let rendered = self.sweeper.fragment(on, "probe").get_or_render(|| Ok::<_, Infallible>("probe"));
        rendered.unwrap_or_else(|never| match never {}).outcome().word()
    }

    /// Fills a fragment, so that only an invalidation can make it a miss.
    pub(crate) fn fill(&self, on: impl Dependencies) {
        self.look(&on);
        assert_eq!(self.look(&on), "hit", "a filled fragment is served");
    }

    /// Asserts that a fragment is gone, and can be filled again at once: no hold was left behind.
    pub(crate) fn is_gone(&self, what: &str, on: impl Dependencies) {
        assert_eq!(self.look(&on), "miss", "{what} should have been invalidated, and not be held");
        self.survives(what, on);
    }

    /// Asserts that a fragment is still there.
    pub(crate) fn survives(&self, what: &str, on: impl Dependencies) {
        assert_eq!(self.look(on), "hit", "{what} should have survived");
    }

    /// Runs a write, and asserts that it sweeps these records, and not those.
    pub(crate) fn sweeps<T>(&self, swept: &[RecordKey], kept: &[RecordKey], write: impl FnOnce() -> T) -> T {
        for key in swept.iter().chain(kept) {
            self.fill(key);
        }
        let value = write();
        for key in swept {
            self.is_gone(key.as_str(), key);
        }
        for key in kept {
            self.survives(key.as_str(), key);
        }
        value
    }

    /// Runs a write, and asserts that the version of these articles rises, and that of those stays.
    pub(crate) fn touches<C: Known, T>(&self, conn: &mut C, touched: &[i64], left: &[i64], write: impl FnOnce(&Sweeper, &mut C) -> T) -> T {
        let before: Vec<NaiveDateTime> = touched.iter().chain(left).map(|&id| version(conn, id)).collect();
        let value = write(&self.sweeper, conn);
        for (position, (&id, before)) in touched.iter().chain(left).zip(before).enumerate() {
            let now = version(conn, id);
            if position < touched.len() {
                assert!(now > before, "article {id} was not touched: {now} after {before}");
            } else {
                assert_eq!(now, before, "article {id} was touched");
            }
        }
        value
    }
}

/// An article's version.
pub(crate) fn version<C: Known>(conn: &mut C, id: i64) -> NaiveDateTime {
    on_conn!(conn.unknown(), |conn| article::table.find(id).select(article::updated_at).first(conn).expect("the article"))
}

/// An article that was made past the sweeper.
pub(crate) fn raw_article<C: Known>(conn: &mut C, title: &str) -> i64 {
    on_conn!(conn.unknown(), |conn| {
        diesel::insert_into(article::table).values(NewArticle::now(title)).execute(conn).expect("an article");
        article::table.select(diesel::dsl::max(article::id)).first::<Option<i64>>(conn).expect("a query").expect("an id")
    })
}

/// A comment that was made past the sweeper.
pub(crate) fn raw_comment<C: Known>(conn: &mut C, article: i64, body: &str) -> i64 {
    on_conn!(conn.unknown(), |conn| {
        let new = NewComment { body: body.into(), ..NewComment::below(Some(article), None) };
        diesel::insert_into(comment::table).values(new).execute(conn).expect("a comment");
        comment::table.select(diesel::dsl::max(comment::id)).first::<Option<i64>>(conn).expect("a query").expect("an id")
    })
}

/// Waits for something to come true.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One test per database: the body is written once, and compiled for each type of connection.
///
/// `fn name(bench, conn)` on all three; `[sqlite postgres] fn name(bench, conn)` on some.
macro_rules! each_database {
    ($($(#[$meta:meta])* $([$($only:ident)*])? fn $name:ident($bench:ident, $conn:ident) $body:block)*) => {$(
        $crate::bench::each_database!(@test $(#[$meta])* [$($($only)*)?] $name $bench $conn $body);
    )*};
    (@test $(#[$meta:meta])* [] $name:ident $bench:ident $conn:ident $body:block) => {
        $crate::bench::each_database!(@test $(#[$meta])* [sqlite postgres mysql] $name $bench $conn $body);
    };
    (@test $(#[$meta:meta])* [$($database:ident)+] $name:ident $bench:ident $conn:ident $body:block) => {
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $($crate::bench::each_database!(@one $database $bench $conn $body);)+
        }
    };
    (@one sqlite $bench:ident $conn:ident $body:block) => {
        $crate::bench::each_database!(@typed sqlite diesel::SqliteConnection, $bench $conn $body);
    };
    (@one postgres $bench:ident $conn:ident $body:block) => {
        $crate::bench::each_database!(@typed postgres diesel::PgConnection, $bench $conn $body);
    };
    (@one mysql $bench:ident $conn:ident $body:block) => {
        $crate::bench::each_database!(@typed mysql diesel::MysqlConnection, $bench $conn $body);
    };
    (@typed $database:ident $type:ty, $bench:ident $conn:ident $body:block) => {
        #[test]
        #[allow(unused_variables, unused_mut, clippy::redundant_closure_call)]
        fn $database() {
            /// The connection's type, for bodies that must name it.
            #[allow(dead_code)]
            type Conn = $type;
            let Some(bench) = $crate::bench::Bench::new(<$type as $crate::bench::Open>::BACKEND) else {
                eprintln!("not run: its server is not named in the environment (see tests/run)");
                return;
            };
            let mut conn = bench.connect::<$type>();
            let ($bench, $conn) = (&bench, &mut conn);
            $body
        }
    };
}

pub(crate) use each_database;
