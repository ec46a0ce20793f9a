//! How many statements PostgreSQL was sent, by its own count.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde_json::{Value, json};

use crate::Failure;

/// What the server must be started with. Nothing is counted while the clock runs.
pub(super) const SETTINGS: &[&str] = &["shared_preload_libraries=pg_stat_statements", "compute_query_id=on"];

/// The server's count.
pub(super) struct Statements {
    admin: PgConnection,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Text)]
    query: String,
    #[diesel(sql_type = BigInt)]
    calls: i64,
}

impl Statements {
    /// Of this server.
    pub(super) fn of(postgres: &str) -> Result<Self, Failure> {
        let mut admin = PgConnection::establish(postgres)?;
        admin.batch_execute("CREATE EXTENSION pg_stat_statements")?;
        let mut statements = Self { admin };
        statements.track("none")?;
        Ok(statements)
    }

    /// Sessions take the setting on before their next statement.
    fn track(&mut self, which: &str) -> Result<(), Failure> {
        self.admin.batch_execute(&format!("ALTER SYSTEM SET pg_stat_statements.track = '{which}'"))?;
        self.admin.batch_execute("SELECT pg_reload_conf()")?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        Ok(())
    }

    /// How many statements each of these saves takes, and which.
    pub(super) fn of_each(&mut self, saves: u32, mut save: impl FnMut() -> Result<(), Failure>) -> Result<(f64, Value), Failure> {
        self.track("top")?;
        self.admin.batch_execute("SELECT pg_stat_statements_reset()")?;
        let saved = (0..saves).try_for_each(|_| save());
        let counted: Vec<Counted> =
            diesel::sql_query("SELECT query, calls FROM pg_stat_statements ORDER BY query").load(&mut self.admin)?;
        self.track("none")?;
        saved?;
        // Its own statements are once each; those of saves come with every save.
        let per_save = |counted: &Counted| counted.calls as f64 / f64::from(saves);
        let of_saves: Vec<&Counted> = counted.iter().filter(|counted| counted.calls >= i64::from(saves)).collect();
        let texts: Vec<Value> = of_saves.iter().map(|counted| json!({ "per_save": per_save(counted), "query": counted.query })).collect();
        Ok((of_saves.iter().map(|counted| per_save(counted)).sum(), texts.into()))
    }
}
