//! The site with Diesel, on its three connections. Everything blocks; the async functions are ready when they return.

mod connection;
pub mod entity;
mod writer;

use std::convert::Infallible;

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{Builder, Dependencies, Dependency, Outcome, RecordKey, Rendered, Stats, Sweeper};
use diesel::connection::Connection as _;
use diesel::prelude::*;
use diesel::result::Error as DieselError;

pub use self::connection::{Conn, ConnRef, Counter, Pool, Pooled};
use self::entity::schema::{article, coarse, comment, vote};
pub use self::writer::{DieselWriter, Known};
use super::{Article, Coarse, Comment, Failed, Orm, Result, Vote};
use crate::database::{Backend, Database};
use crate::on_conn;

impl From<DieselError> for Failed {
    fn from(error: DieselError) -> Self {
        Self(error.to_string())
    }
}

/// Diesel, blocking.
pub struct Diesel {
    /// The sweeper.
    pub sweeper: Sweeper,
    /// Its connections.
    pub pool: Pool,
}

/// Runs a future to its end on this thread. It is meant for futures inside of blocking code inside of a test's future.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(future))
}

impl Orm for Diesel {
    type Sweeper = Sweeper;
    type Writer<'w> = DieselWriter<'w>;

    /// After the statement.
    const PLAIN_MARKS: u64 = 1;

    fn builder() -> Builder<Sweeper> {
        Sweeper::builder()
    }

    fn build(builder: Builder<Sweeper>) -> Sweeper {
        builder.build().expect("a sweeper")
    }

    async fn open(database: &Database, sweeper: Sweeper, watched: bool) -> Self {
        Self { pool: Pool::new(database.clone(), sweeper.clone(), watched), sweeper }
    }

    fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    fn stats(&self) -> Stats {
        self.sweeper.stats()
    }

    fn statements(&self) -> usize {
        self.pool.statements.count()
    }

    /// Ancestors, touch (SQLite reads first), ancestors again.
    fn commit_statements(backend: Backend) -> usize {
        if backend == Backend::Sqlite { 4 } else { 3 }
    }

    fn writer(&self) -> DieselWriter<'_> {
        DieselWriter::pooled(&self.sweeper, self.pool.take())
    }

    async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut DieselWriter<'_>) -> Result<T>) -> Result<T> {
        let sweeper = &self.sweeper;
        on_conn!(self.pool.take().as_mut(), |conn| tokio::task::block_in_place(|| {
            sweeper.transaction(conn, |conn| block_on(work(&mut DieselWriter::inside(sweeper, conn))))
        }))
    }

    async fn plain_transaction<T>(&self, work: impl AsyncFnOnce(&mut DieselWriter<'_>) -> Result<T>) -> Result<T> {
        let sweeper = &self.sweeper;
        on_conn!(self.pool.take().as_mut(), |conn| tokio::task::block_in_place(|| {
            conn.transaction(|conn| block_on(work(&mut DieselWriter::inside(sweeper, conn))))
        }))
    }

    async fn render(&self, on: impl Dependencies, name: &str, body: impl AsyncFnOnce() -> String) -> Rendered {
        let rendered =
            tokio::task::block_in_place(|| self.sweeper.fragment(on, name).get_or_render(|| Ok::<_, Infallible>(block_on(body()))));
        rendered.unwrap_or_else(|never| match never {})
    }

    async fn probe_elsewhere(&self, on: Vec<Dependency>) -> Outcome {
        let sweeper = self.sweeper.clone();
        let probe = std::thread::spawn(move || {
            let rendered = sweeper.fragment(&on, "probe").get_or_render(|| Ok::<_, Infallible>("probe"));
            rendered.unwrap_or_else(|never| match never {}).outcome()
        });
        probe.join().expect("joined")
    }

    async fn load_article(&self, id: i64) -> Article {
        on_conn!(self.pool.take().as_mut(), |conn| article::table.find(id).first::<entity::Article>(conn).expect("the article")).into()
    }

    async fn load_comment(&self, id: i64) -> Comment {
        on_conn!(self.pool.take().as_mut(), |conn| comment::table.find(id).first::<entity::Comment>(conn).expect("the comment")).into()
    }

    async fn load_votes(&self) -> Vec<Vote> {
        let votes = on_conn!(self.pool.take().as_mut(), |conn| vote::table.load::<entity::Vote>(conn).expect("the votes"));
        votes.into_iter().map(Into::into).collect()
    }

    async fn load_coarse(&self, id: i64) -> Coarse {
        on_conn!(self.pool.take().as_mut(), |conn| coarse::table.find(id).first::<entity::Coarse>(conn).expect("the row")).into()
    }

    fn comment_key(id: i64) -> RecordKey {
        entity::Comment::key(id)
    }

    fn articles() -> RecordKey {
        entity::Article::collection()
    }
}
