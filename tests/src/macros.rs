//! Behaviours: written once, run with every ORM, on every database and every store.

/// Runs behaviours with every ORM, on every backend and every store: one test each, so that a failure names its combination
/// (`seaorm::a_vote_…::postgres_two_memcached`).
#[macro_export]
macro_rules! behaviours {
    ($($(#[$meta:meta])* async fn $name:ident($site:ident: &Site<impl Orm>) $body:block)*) => {
        /// The behaviours themselves.
        mod behaviour {
            use super::*;

            $(
                $(#[$meta])*
                pub(super) async fn $name($site: &$crate::Site<impl $crate::Orm>) $body
            )*
        }

        mod seaorm {
            $($crate::combinations!($name, $crate::SeaOrm, super::super::behaviour::$name);)*
        }

        mod diesel {
            $($crate::combinations!($name, $crate::Diesel, super::super::behaviour::$name);)*
        }

        mod diesel_async {
            $($crate::combinations!($name, $crate::DieselAsync, super::super::behaviour::$name);)*
        }
    };
}

/// Runs what only one ORM has, on every backend and every store.
#[macro_export]
macro_rules! behaviours_of {
    ($orm:ident; $($(#[$meta:meta])* async fn $name:ident($site:ident: &Site) $body:block)*) => {
        mod behaviour {
            use super::*;

            $(
                $(#[$meta])*
                pub(super) async fn $name($site: &$crate::Site<$crate::$orm>) $body
            )*
        }

        $($crate::combinations!($name, $crate::$orm, super::behaviour::$name);)*
    };
}

/// One behaviour with one ORM, on every backend and every store.
#[doc(hidden)]
#[macro_export]
macro_rules! combinations {
    ($name:ident, $orm:ty, $behaviour:path) => {
        mod $name {
            $crate::combinations!(@one sqlite_memory, $orm, $behaviour, Sqlite, Memory);
            $crate::combinations!(@one sqlite_memcached, $orm, $behaviour, Sqlite, One);
            $crate::combinations!(@one sqlite_two_memcached, $orm, $behaviour, Sqlite, Two);
            $crate::combinations!(@one postgres_memory, $orm, $behaviour, Postgres, Memory);
            $crate::combinations!(@one postgres_memcached, $orm, $behaviour, Postgres, One);
            $crate::combinations!(@one postgres_two_memcached, $orm, $behaviour, Postgres, Two);
            $crate::combinations!(@one mysql_memory, $orm, $behaviour, MySql, Memory);
            $crate::combinations!(@one mysql_memcached, $orm, $behaviour, MySql, One);
            $crate::combinations!(@one mysql_two_memcached, $orm, $behaviour, MySql, Two);
        }
    };
    (@one $name:ident, $orm:ty, $behaviour:path, $backend:ident, $placement:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let Some(site) = $crate::Site::<$orm>::open($crate::Backend::$backend, $crate::Placement::$placement).await else {
                eprintln!("not run: its servers are not named in the environment (see tests/run)");
                return;
            };
            $behaviour(&site).await;
            site.close();
        }
    };
}
