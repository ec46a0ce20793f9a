//! The user's statement, ready to be run under another text.

use std::future::Future;
use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::deserialize::FromSqlRow;
use diesel::query_builder::{QueryFragment, QueryId};

use crate::db::Db;
use crate::rewrite::{Keyed, Rewritten, read_keys};
use crate::sql::{Sql, TextRow};

/// What a statement did.
#[derive(Debug)]
pub(crate) struct Ran<R> {
    /// How many rows it changed.
    pub(crate) affected: usize,
    /// The rows it returned to the user.
    pub(crate) rows: Vec<R>,
    /// The changed rows' keys, where the database returns them.
    pub(crate) keys: Vec<TextRow>,
}

impl<R> Default for Ran<R> {
    fn default() -> Self {
        Self { affected: 0, rows: Vec::new(), keys: Vec::new() }
    }
}

/// How a statement is to be run.
#[derive(Debug, Default)]
pub(crate) struct How {
    /// The text to send; it returns what the user asked for, and after it `keys`.
    pub(crate) text: String,
    /// The values that were added at its end.
    pub(crate) extra: Sql,
    /// The expression that gives a changed row's keys; `None` where the database returns nothing.
    pub(crate) keys: Option<String>,
}

/// What a statement returns of each row.
pub(crate) trait Returning {
    /// Nothing, or a row of the user's.
    type Row: Send;

    /// Whether it returns rows to the user.
    const RETURNS: bool;
}

/// A statement of the user's.
pub(crate) trait Runnable<D: Db>: Returning + Send {
    /// The text that Diesel renders.
    fn text(&mut self, db: &D) -> QueryResult<String>;

    /// Runs it.
    fn run(&mut self, db: &mut D, how: &How) -> impl Future<Output = QueryResult<Ran<Self::Row>>> + Send;

    /// Runs another text with its values, which returns text columns.
    fn select(&mut self, db: &mut D, text: &str) -> impl Future<Output = QueryResult<Vec<TextRow>>> + Send;
}

/// A statement that tells how many rows it changed.
#[derive(Debug)]
pub(crate) struct Counted<S>(pub(crate) S);

impl<S> Returning for Counted<S> {
    type Row = ();

    const RETURNS: bool = false;
}

impl<S, D> Runnable<D> for Counted<S>
where
    D: Db,
    S: QueryFragment<D::Backend> + QueryId + Send,
{
    fn text(&mut self, db: &D) -> QueryResult<String> {
        db.renderer().render(&self.0)
    }

    async fn run(&mut self, db: &mut D, how: &How) -> QueryResult<Ran<()>> {
        let statement = Rewritten { statement: &mut self.0, text: &how.text, extra: &how.extra };
        if how.keys.is_none() {
            return Ok(Ran { affected: db.execute(statement).await?, ..Ran::default() });
        }
        let rows: Vec<TextRow> = db.load(statement).await?;
        let keys = rows.iter().filter_map(|row| row.0.first()?.as_deref()).map(read_keys).collect::<QueryResult<Vec<_>>>()?;
        Ok(Ran { affected: rows.len(), rows: Vec::new(), keys })
    }

    async fn select(&mut self, db: &mut D, text: &str) -> QueryResult<Vec<TextRow>> {
        db.load(Rewritten { statement: &mut self.0, text, extra: &Sql::default() }).await
    }
}

/// A statement that returns rows.
#[derive(Debug)]
pub(crate) struct Loaded<S, U, ST> {
    pub(crate) statement: S,
    pub(crate) row: PhantomData<fn() -> (U, ST)>,
}

impl<S, U: Send, ST> Returning for Loaded<S, U, ST> {
    type Row = U;

    const RETURNS: bool = true;
}

impl<S, U, ST, D> Runnable<D> for Loaded<S, U, ST>
where
    D: Db,
    S: QueryFragment<D::Backend> + QueryId + Send,
    U: FromSqlRow<ST, D::Backend> + Send + 'static,
    ST: 'static,
{
    fn text(&mut self, db: &D) -> QueryResult<String> {
        db.renderer().render(&self.statement)
    }

    async fn run(&mut self, db: &mut D, how: &How) -> QueryResult<Ran<U>> {
        let statement = Rewritten { statement: &mut self.statement, text: &how.text, extra: &how.extra };
        let loaded: Vec<Keyed<U, ST>> = db.load(statement).await?;
        let keys = loaded.iter().map(|row| read_keys(&row.keys)).collect::<QueryResult<Vec<_>>>()?;
        Ok(Ran { affected: loaded.len(), rows: loaded.into_iter().map(|row| row.row).collect(), keys })
    }

    async fn select(&mut self, db: &mut D, text: &str) -> QueryResult<Vec<TextRow>> {
        db.load(Rewritten { statement: &mut self.statement, text, extra: &Sql::default() }).await
    }
}
