//! Enums of connections, and pools of them.

use cachesweeper_diesel::SweepConn;
use diesel::r2d2::{ConnectionManager, PooledConnection};

#[derive(diesel::MultiConnection, SweepConn)]
pub enum Db {
    Postgres(diesel::PgConnection),
    Mysql(diesel::MysqlConnection),
    Sqlite(diesel::SqliteConnection),
}

fn main() {
    fn swept<C: SweepConn>() {}
    swept::<Db>();
    swept::<PooledConnection<ConnectionManager<diesel::SqliteConnection>>>();
    swept::<PooledConnection<ConnectionManager<Db>>>();
}
