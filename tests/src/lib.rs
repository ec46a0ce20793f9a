//! What the integration tests share: entities, databases, stores.
//!
//! `tests/run` starts the servers and names them in the environment. What is not named is not tested, so that plain
//! `cargo test` works with nothing installed: SQLite and the memory store are always there.

pub mod database;
pub mod entity;
pub mod memcached;
pub mod site;

pub use database::Backend;
pub use memcached::{Memcached, Placement};
pub use site::Site;

/// Runs one behaviour on every backend and every store: one test each, so that a failure names its combination.
#[macro_export]
macro_rules! behaviours {
    ($($(#[$meta:meta])* async fn $name:ident($site:ident: Site) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn behaviour($site: $crate::Site) $body

            $crate::behaviours!(@combination sqlite_memory, Sqlite, Memory);
            $crate::behaviours!(@combination sqlite_memcached, Sqlite, One);
            $crate::behaviours!(@combination sqlite_two_memcached, Sqlite, Two);
            $crate::behaviours!(@combination postgres_memory, Postgres, Memory);
            $crate::behaviours!(@combination postgres_memcached, Postgres, One);
            $crate::behaviours!(@combination postgres_two_memcached, Postgres, Two);
            $crate::behaviours!(@combination mysql_memory, MySql, Memory);
            $crate::behaviours!(@combination mysql_memcached, MySql, One);
            $crate::behaviours!(@combination mysql_two_memcached, MySql, Two);
        }
    )*};
    (@combination $name:ident, $backend:ident, $placement:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(site) = $crate::Site::open($crate::Backend::$backend, $crate::Placement::$placement).await else {
                eprintln!("not run: its servers are not named in the environment (see tests/run)");
                return;
            };
            behaviour(site).await;
        }
    };
}
