//! The site with diesel-async, on its three connections.

mod connection;
mod writer;

use std::convert::Infallible;

use cachesweeper_diesel::asynchronous::{Sweeper, prelude::*};
use cachesweeper_diesel::{Builder, Dependencies, Dependency, Outcome, RecordKey, Rendered, Stats};
use diesel::prelude::QueryDsl as _;
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use send_wrapper::SendWrapper;

pub use self::connection::{AsyncConn, AsyncConnRef, AsyncPool, AsyncPooled, AsyncSqlite};
pub use self::writer::AsyncWriter;
use super::diesel::block_on;
use super::diesel::entity;
use super::diesel::entity::schema::{article, coarse, comment, vote};
use super::{Article, Coarse, Comment, Orm, Result, Vote};
use crate::database::{Backend, Database};
use crate::on_async_conn;

/// diesel-async.
pub struct DieselAsync {
    /// The sweeper.
    pub sweeper: Sweeper,
    /// Its connections.
    pub pool: AsyncPool,
}

/// Runs `work` in a transaction. Behaviours' closures are not `Send`, as they would have to be in an application; so all of
/// it stays on this thread.
pub(in crate::orm) fn transaction<C, T>(
    sweeper: &Sweeper,
    conn: &mut C,
    work: impl AsyncFnOnce(&mut AsyncWriter<'_>) -> Result<T>,
) -> Result<T>
where
    C: writer::Known,
{
    let work = SendWrapper::new(work);
    let done = block_on(sweeper.transaction(conn, async |conn: &mut C| {
        let work = async move { work.take()(&mut AsyncWriter::inside(sweeper, conn)).await.map(SendWrapper::new) };
        SendWrapper::new(work).await
    }));
    done.map(SendWrapper::take)
}

impl Orm for DieselAsync {
    type Sweeper = Sweeper;
    type Writer<'w> = AsyncWriter<'w>;

    /// After the statement.
    const PLAIN_MARKS: u64 = 1;

    fn builder() -> Builder<Sweeper> {
        Sweeper::builder()
    }

    fn build(builder: Builder<Sweeper>) -> Sweeper {
        builder.build().expect("a sweeper")
    }

    async fn open(database: &Database, sweeper: Sweeper, watched: bool) -> Self {
        Self { pool: AsyncPool::new(database.clone(), sweeper.clone(), watched), sweeper }
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

    fn writer(&self) -> AsyncWriter<'_> {
        AsyncWriter::pooled(&self.sweeper, block_on(self.pool.take()))
    }

    async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut AsyncWriter<'_>) -> Result<T>) -> Result<T> {
        let mut conn = self.pool.take().await;
        on_async_conn!(conn.as_mut(), |conn| transaction(&self.sweeper, conn, work))
    }

    async fn plain_transaction<T>(&self, work: impl AsyncFnOnce(&mut AsyncWriter<'_>) -> Result<T>) -> Result<T> {
        let mut conn = self.pool.take().await;
        on_async_conn!(conn.as_mut(), |conn| {
            let work = SendWrapper::new(work);
            let sweeper = &self.sweeper;
            let done = block_on(conn.transaction(async |conn| {
                let work = async move { work.take()(&mut AsyncWriter::inside(sweeper, conn)).await.map(SendWrapper::new) };
                SendWrapper::new(work).await
            }));
            done.map(SendWrapper::take)
        })
    }

    async fn render(&self, on: impl Dependencies, name: &str, body: impl AsyncFnOnce() -> String) -> Rendered {
        let rendered = self.sweeper.fragment(on, name).get_or_render(async || Ok::<_, Infallible>(body().await)).await;
        rendered.unwrap_or_else(|never| match never {})
    }

    async fn probe_elsewhere(&self, on: Vec<Dependency>) -> Outcome {
        let sweeper = self.sweeper.clone();
        let probe = tokio::spawn(async move {
            let rendered = sweeper.fragment(&on, "probe").get_or_render(async || Ok::<_, Infallible>("probe")).await;
            rendered.unwrap_or_else(|never| match never {}).outcome()
        });
        probe.await.expect("joined")
    }

    async fn load_article(&self, id: i64) -> Article {
        on_async_conn!(self.pool.take().await.as_mut(), |conn| article::table
            .find(id)
            .first::<entity::Article>(conn)
            .await
            .expect("the article"))
        .into()
    }

    async fn load_comment(&self, id: i64) -> Comment {
        on_async_conn!(self.pool.take().await.as_mut(), |conn| comment::table
            .find(id)
            .first::<entity::Comment>(conn)
            .await
            .expect("the comment"))
        .into()
    }

    async fn load_votes(&self) -> Vec<Vote> {
        let votes =
            on_async_conn!(self.pool.take().await.as_mut(), |conn| vote::table.load::<entity::Vote>(conn).await.expect("the votes"));
        votes.into_iter().map(Into::into).collect()
    }

    async fn load_coarse(&self, id: i64) -> Coarse {
        on_async_conn!(self.pool.take().await.as_mut(), |conn| coarse::table.find(id).first::<entity::Coarse>(conn).await.expect("the row"))
            .into()
    }

    fn comment_key(id: i64) -> RecordKey {
        entity::Comment::key(id)
    }

    fn articles() -> RecordKey {
        entity::Article::collection()
    }
}
