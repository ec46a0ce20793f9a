//! Enums of connections.

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{Dialect, SweepConn};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use crate::{look, sweeper};

#[derive(diesel::MultiConnection, SweepConn)]
pub enum Any {
    #[cfg(feature = "postgres")]
    Postgres(PgConnection),
    #[cfg(feature = "mysql")]
    My(MysqlConnection),
    Lite(SqliteConnection),
}

diesel::table! {
    any_notes (id) {
        id -> BigInt,
        body -> Text,
    }
}

#[derive(Queryable, Selectable, Identifiable, Insertable, CacheSweep)]
#[diesel(table_name = any_notes)]
struct Note {
    id: i64,
    body: String,
}

fn lite() -> Any {
    let mut conn = SqliteConnection::establish(":memory:").expect("SQLite is embedded");
    conn.batch_execute("CREATE TABLE any_notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL)").expect("the table can be made");
    Any::Lite(conn)
}

#[test]
fn an_enum_is_what_its_variant_is() {
    let mut conn = lite();
    assert_eq!(conn.dialect(), Dialect::Sqlite);
    let identity = conn.identity();
    match &mut conn {
        Any::Lite(inner) => assert_eq!(inner.identity(), identity),
        #[cfg(any(feature = "postgres", feature = "mysql"))]
        _ => unreachable!("it was made one"),
    }
    assert_ne!(lite().identity(), identity);
    conn.begin_write().expect("begun");
    assert!(conn.begin_write().is_ok(), "a savepoint");
}

#[test]
fn writes_on_an_enum_are_swept() {
    let (sweeper, mut conn) = (sweeper(), lite());
    let conn = &mut conn;
    let key = Note::key(7);
    assert_eq!((look(&sweeper, &key), look(&sweeper, &key)), ("miss", "hit"));
    assert_eq!(sweeper.insert_and_sweep(conn, any_notes::table, (any_notes::id.eq(7), any_notes::body.eq("a"))), Ok(1));
    assert_eq!((look(&sweeper, &key), look(&sweeper, &key)), ("miss", "hit"));
    assert_eq!(sweeper.update_and_sweep(conn, any_notes::table.find(8), any_notes::body.eq("b")), Ok(0));
    assert_eq!(look(&sweeper, &key), "hit");
    assert_eq!(sweeper.update_and_sweep(conn, any_notes::table.find(7), any_notes::body.eq("b")), Ok(1));
    assert_eq!((look(&sweeper, &key), look(&sweeper, &key)), ("miss", "hit"));
    assert_eq!(sweeper.delete_and_sweep(conn, any_notes::table.filter(any_notes::body.eq("b"))), Ok(1));
    assert_eq!(look(&sweeper, &key), "miss");
}
