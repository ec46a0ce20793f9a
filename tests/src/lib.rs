//! What the integration tests share: databases, stores, and a site that is written to with each ORM.
//!
//! `tests/run` starts the servers and names them in the environment. What is not named is not tested, so that plain
//! `cargo test` works with nothing installed: SQLite and the memory store are always there.

pub mod database;
mod macros;
pub mod memcached;
mod namespace;
pub mod orm;
pub mod site;

pub use database::{Backend, Database};
pub use memcached::{Memcached, Placement};
pub use orm::diesel::Diesel;
pub use orm::diesel_async::DieselAsync;
pub use orm::seaorm::SeaOrm;
pub use orm::{Orm, Writer};
pub use site::Site;
