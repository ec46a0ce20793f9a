//! Keys of other types than whole numbers and text.

use cachesweeper_diesel::prelude::*;
use cachesweeper_tests::Backend;
use diesel::prelude::*;

use crate::bench::each_database;

diesel::table! {
    blob (hash) {
        hash -> Binary,
        note -> Text,
    }
}

diesel::table! {
    chunk (id) {
        id -> BigInt,
        blob_hash -> Nullable<Binary>,
        flag -> Nullable<Bool>,
    }
}

diesel::table! {
    switch (flag) {
        flag -> Bool,
        note -> Text,
    }
}

#[derive(Clone, Debug, Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = blob, primary_key(hash))]
struct Blob {
    hash: Vec<u8>,
    note: String,
}

#[derive(Clone, Debug, Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = switch, primary_key(flag))]
struct Switch {
    flag: bool,
    note: String,
}

#[derive(Clone, Debug, Queryable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = chunk, belongs_to(Blob, foreign_key = blob_hash), belongs_to(Switch, foreign_key = flag))]
struct Chunk {
    id: i64,
    blob_hash: Option<Vec<u8>>,
    flag: Option<bool>,
}

fn tables(backend: Backend) -> String {
    let (bytes, text, quote) = match backend {
        Backend::Sqlite => ("BLOB", "TEXT", '"'),
        Backend::Postgres => ("BYTEA", "TEXT", '"'),
        Backend::MySql => ("VARBINARY(40)", "VARCHAR(100)", '`'),
    };
    format!(
        "CREATE TABLE {quote}blob{quote} (hash {bytes} NOT NULL PRIMARY KEY, note {text} NOT NULL);
         CREATE TABLE {quote}switch{quote} (flag BOOLEAN NOT NULL PRIMARY KEY, note {text} NOT NULL);
         CREATE TABLE chunk (id BIGINT PRIMARY KEY, blob_hash {bytes} NULL, flag BOOLEAN NULL)"
    )
}

each_database! {
    fn bytes_and_booleans(bench, conn) {
        bench.database.run(&tables(bench.database.backend));
        let sweeper = &bench.sweeper;
        let hashes: [&[u8]; 2] = [&[0, 0xab, 0xff, b'\'', b'\\', b'?'], &[1]];
        let blob = |position: usize| Blob { hash: hashes[position].to_vec(), note: String::new() }.record_key();
        assert_eq!(blob(0).to_string(), "blob:00abff275c3f");
        for (position, hash) in hashes.into_iter().enumerate() {
            bench.sweeps(&[blob(position)], &[blob(1 - position)], || {
                assert_eq!(sweeper.insert_and_sweep(conn, blob::table, (blob::hash.eq(hash), blob::note.eq(""))), Ok(1));
            });
        }
        let switch = |flag: bool| Switch { flag, note: String::new() }.record_key();
        for flag in [false, true] {
            bench.sweeps(&[switch(flag)], &[switch(!flag)], || {
                assert_eq!(sweeper.insert_and_sweep(conn, switch::table, (switch::flag.eq(flag), switch::note.eq(""))), Ok(1));
            });
        }
        let row =
            |id: i64, hash: Option<&'static [u8]>, flag: Option<bool>| (chunk::id.eq(id), chunk::blob_hash.eq(hash), chunk::flag.eq(flag));
        bench.sweeps(&[blob(0), switch(true)], &[blob(1), switch(false)], || {
            assert_eq!(sweeper.insert_and_sweep(conn, chunk::table, row(1, Some(&[0, 0xab, 0xff, b'\'', b'\\', b'?']), Some(true))), Ok(1));
        });
        bench.sweeps(&[], &[blob(0), blob(1), switch(false), switch(true)], || {
            assert_eq!(sweeper.insert_and_sweep(conn, chunk::table, row(2, None, None)), Ok(1));
        });
        bench.sweeps(&[blob(0), blob(1), switch(true)], &[switch(false)], || {
            assert_eq!(sweeper.update_and_sweep(conn, chunk::table.find(1), chunk::blob_hash.eq(hashes[1])), Ok(1));
        });
        bench.sweeps(&[blob(1), switch(true), switch(false)], &[blob(0)], || {
            assert_eq!(sweeper.update_and_sweep(conn, chunk::table.filter(chunk::flag.eq(true)), chunk::flag.eq(false)), Ok(1));
        });
        bench.sweeps(&[blob(0)], &[blob(1)], || {
            assert_eq!(sweeper.update_and_sweep(conn, blob::table.find(hashes[0]), blob::note.eq("n")), Ok(1));
        });
        bench.sweeps(&[blob(1), switch(false)], &[blob(0), switch(true)], || {
            assert_eq!(sweeper.delete_and_sweep(conn, chunk::table.find(1)), Ok(1));
        });
        bench.sweeps(&[blob(0), blob(1)], &[], || assert_eq!(sweeper.delete_and_sweep(conn, blob::table), Ok(2)));
    }

    fn the_smallest_and_the_largest_number(bench, conn) {
        use cachesweeper_tests::orm::diesel::entity::Comment;
        use cachesweeper_tests::orm::diesel::entity::schema::{article, comment};
        let now = chrono::Utc::now().naive_utc();
        for id in [i64::MAX, i64::MIN, -1] {
            let row = (article::id.eq(id), article::title.eq("t"), article::views.eq(0), article::updated_at.eq(now));
            assert_eq!(bench.sweeper.insert_and_sweep(conn, article::table, row), Ok(1));
            bench.sweeps(&[Comment::key(id)], &[Comment::key(1)], || {
                bench.touches(conn, &[id], &[], |sweeper, conn| {
                    let row = (comment::id.eq(id), comment::article_id.eq(id), comment::body.eq("c"), comment::views.eq(0));
                    assert_eq!(sweeper.insert_and_sweep(conn, comment::table, row), Ok(1));
                });
            });
            bench.touches(conn, &[id], &[], |sweeper, conn| {
                assert_eq!(sweeper.update_and_sweep(conn, comment::table.find(id), comment::body.eq("d")), Ok(1));
            });
        }
    }
}

mod unsigned {
    //! MySQL's unsigned numbers, beyond those with a sign.

    use diesel::sql_types::{BigInt, Unsigned};

    use super::*;

    diesel::table! {
        use diesel::sql_types::*;
        counter (id) {
            id -> Unsigned<BigInt>,
            note -> Text,
        }
    }

    diesel::table! {
        use diesel::sql_types::*;
        tick (id) {
            id -> Unsigned<BigInt>,
            counter_id -> Unsigned<BigInt>,
        }
    }

    /// Says of which type a key is.
    type Key = Unsigned<BigInt>;

    #[derive(Clone, Debug, Queryable, Identifiable, CacheSweep)]
    #[diesel(table_name = counter)]
    struct Counter {
        id: u64,
        note: String,
    }

    #[derive(Clone, Debug, Queryable, Identifiable, Associations, CacheSweep)]
    #[diesel(table_name = tick, belongs_to(Counter))]
    struct Tick {
        id: u64,
        counter_id: u64,
    }

    each_database! {
        [mysql]
        fn unsigned_numbers(bench, conn) {
            bench.database.run(
                "CREATE TABLE counter (id BIGINT UNSIGNED PRIMARY KEY, note VARCHAR(100) NOT NULL);
                 CREATE TABLE tick (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, counter_id BIGINT UNSIGNED NOT NULL)",
            );
            let sweeper = &bench.sweeper;
            for id in [u64::MAX, 7] {
                bench.sweeps(&[Counter::key(id)], &[Counter::key(8)], || {
                    let row = (counter::id.eq(id.into_sql::<Key>()), counter::note.eq("n"));
                    assert_eq!(sweeper.insert_and_sweep(conn, counter::table, row), Ok(1));
                });
                bench.sweeps(&[Counter::key(id)], &[Counter::key(8)], || {
                    assert_eq!(sweeper.insert_and_sweep(conn, tick::table, tick::counter_id.eq(id)), Ok(1));
                });
                bench.sweeps(&[Counter::key(id)], &[Counter::key(8)], || {
                    assert_eq!(sweeper.update_and_sweep(conn, counter::table.find(id), counter::note.eq("changed")), Ok(1));
                });
                bench.sweeps(&[Counter::key(id)], &[Counter::key(8)], || {
                    assert_eq!(sweeper.delete_and_sweep(conn, tick::table.filter(tick::counter_id.eq(id))), Ok(1));
                });
            }
        }
    }
}
