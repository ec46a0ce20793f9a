//! Many rows changed by one statement of an ORM, on PostgreSQL: comments, each below one of some articles.

use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::Failure;
use crate::measure::{Place, memory_peak, millis, warm_up};
use crate::sweep::costs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// `update_many().exec_and_sweep(…)`.
    Seaorm,
    /// `update_and_sweep(…)`.
    Diesel,
}

/// Many rows changed by one statement of an ORM, on PostgreSQL.
#[derive(Debug, Args)]
pub(crate) struct Orm {
    #[command(flatten)]
    place: Place,
    /// The database; its tables `limits_*` are dropped first.
    #[arg(long)]
    postgres: String,
    #[arg(long)]
    orm: Which,
    /// How many rows.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How many parents they have in all.
    #[arg(long, default_value_t = 10_000)]
    parents: u64,
}

impl Orm {
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let traffic = self.place.traffic()?;
        let mut result = match self.orm {
            Which::Diesel => on_diesel::run(self)?,
            Which::Seaorm => on_seaorm::run(self)?,
        };
        let traffic = self.place.traffic()?.since(traffic);
        let more = json!({
            "what": "orm", "orm": format!("{:?}", self.orm), "store": self.place.word(), "rows": self.rows, "parents": self.parents,
            "bytes_to": traffic.to, "bytes_from": traffic.from, "peak_mib": memory_peak()?,
        });
        if let (Value::Object(result), Value::Object(more)) = (&mut result, more) {
            result.extend(more);
        }
        Ok(result)
    }

    /// Makes and fills the tables; `prefix` tells the ORMs' apart.
    fn tables(&self, prefix: &str) -> String {
        let (rows, parents) = (self.rows, self.parents);
        format!(
            "DROP TABLE IF EXISTS {prefix}comment; DROP TABLE IF EXISTS {prefix}article;
             CREATE TABLE {prefix}article (id BIGINT PRIMARY KEY, title TEXT NOT NULL);
             CREATE TABLE {prefix}comment (id BIGINT PRIMARY KEY, article_id BIGINT NOT NULL REFERENCES {prefix}article, body TEXT NOT NULL);
             INSERT INTO {prefix}article SELECT i, 'title' FROM generate_series(1, {parents}) AS i;
             INSERT INTO {prefix}comment SELECT i, 1 + i % {parents}, 'body' FROM generate_series(1, {rows}) AS i;
             ANALYZE {prefix}comment;"
        )
    }
}

mod on_diesel {
    use super::*;
    use cachesweeper_diesel::Sweeper;
    use cachesweeper_diesel::prelude::*;
    use diesel::connection::SimpleConnection;
    use diesel::prelude::*;

    diesel::table! { limits_d_article (id) { id -> BigInt, title -> Text, } }
    diesel::table! { limits_d_comment (id) { id -> BigInt, article_id -> BigInt, body -> Text, } }

    #[derive(Queryable, Identifiable, CacheSweep)]
    #[diesel(table_name = limits_d_article)]
    #[allow(dead_code, reason = "only what is derived is used")]
    struct Article {
        id: i64,
        title: String,
    }

    #[derive(Queryable, Identifiable, Associations, CacheSweep)]
    #[diesel(table_name = limits_d_comment, belongs_to(Article))]
    #[allow(dead_code, reason = "only what is derived is used")]
    struct Comment {
        id: i64,
        article_id: i64,
        body: String,
    }

    pub(super) fn run(orm: &Orm) -> Result<Value, Failure> {
        let conn = &mut PgConnection::establish(&orm.postgres)?;
        conn.batch_execute(&orm.tables("limits_d_"))?;
        let plain = Instant::now();
        diesel::update(limits_d_comment::table).set(limits_d_comment::body.eq("plain")).execute(conn)?;
        let plain = plain.elapsed();
        let builder = Sweeper::builder().namespace("limits");
        let sweeper = match &orm.place.memcached {
            Some(server) => builder.memcached([server.clone()]).build()?,
            None => builder.memory(2 << 30).build()?,
        };
        warm_up(&sweeper)?;
        let (at_start, started) = (memory_peak()?, Instant::now());
        let changed = sweeper.update_and_sweep(conn, limits_d_comment::table, limits_d_comment::body.eq("swept"))?;
        let took = started.elapsed();
        let mut result = costs(&sweeper.stats());
        result["changed"] = changed.into();
        (result["plain_ms"], result["swept_ms"], result["start_mib"]) = (millis(plain).into(), millis(took).into(), at_start.into());
        Ok(result)
    }
}

mod on_seaorm {
    use super::*;
    use cachesweeper_seaorm::{ExecAndSweep, SweepConnection, Sweeper};
    use sea_orm::sea_query::Expr;
    use sea_orm::{ConnectOptions, ConnectionTrait, Database, EntityTrait};

    mod article {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "limits_s_article")]
        pub(crate) struct Model {
            #[sea_orm(primary_key)]
            pub(crate) id: i64,
            pub(crate) title: String,
            #[sea_orm(has_many)]
            pub(crate) comments: HasMany<super::comment::Entity>,
        }
    }

    mod comment {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "limits_s_comment")]
        pub(crate) struct Model {
            #[sea_orm(primary_key)]
            pub(crate) id: i64,
            pub(crate) article_id: i64,
            pub(crate) body: String,
            #[sea_orm(belongs_to, from = "article_id", to = "id")]
            pub(crate) article: BelongsTo<super::article::Entity>,
        }
    }

    #[tokio::main]
    pub(super) async fn run(orm: &Orm) -> Result<Value, Failure> {
        let mut options = ConnectOptions::new(&orm.postgres);
        options.sqlx_logging(false);
        let db = Database::connect(options).await?;
        db.execute_unprepared(&orm.tables("limits_s_")).await?;
        let update = || comment::Entity::update_many().col_expr(comment::Column::Body, Expr::value("written"));
        let plain = Instant::now();
        update().exec(&db).await?;
        let plain = plain.elapsed();
        let builder = Sweeper::builder().namespace("limits");
        let sweeper = match &orm.place.memcached {
            Some(server) => builder.memcached([server.clone()]).build()?,
            None => builder.memory(2 << 30).build()?,
        };
        let blocking = sweeper.blocking().ok_or("both stores serve both faces")?;
        tokio::task::spawn_blocking(move || warm_up(&blocking)).await??;
        let db = SweepConnection::new(db, sweeper.clone());
        let (at_start, started) = (memory_peak()?, Instant::now());
        let changed = update().exec_and_sweep(&db).await?.rows_affected;
        let took = started.elapsed();
        let mut result = costs(&sweeper.stats());
        result["changed"] = changed.into();
        (result["plain_ms"], result["swept_ms"], result["start_mib"]) = (millis(plain).into(), millis(took).into(), at_start.into());
        Ok(result)
    }
}
