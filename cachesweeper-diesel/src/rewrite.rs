//! The user's statement as it is sent: its own values, and a text that returns the changed rows' keys as well.

use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSqlRow, QueryableByName};
use diesel::internal::derives::multiconnection::AstPassHelper as _;
use diesel::query_builder::{AstPass, Query, QueryBuilder, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow, Row};
use diesel::sql_types::Untyped;
use diesel::{QueryResult, RunQueryDsl};

use crate::sql::{Sql, SweepBackend};

/// Marks statements that a wrapper sends, so that the [watcher](crate::Watcher) knows them.
pub(crate) const SWEPT: &str = " /* swept */";

/// What Diesel renders a statement with.
#[derive(Default)]
pub struct Renderer<DB: Backend> {
    backend: DB,
    out: DB::QueryBuilder,
}

impl<DB: Backend> Renderer<DB> {
    /// With this backend, and an empty builder for it.
    pub fn new(backend: DB, out: DB::QueryBuilder) -> Self {
        Self { backend, out }
    }

    /// The text of a statement.
    pub(crate) fn render<S: QueryFragment<DB>>(mut self, statement: &S) -> QueryResult<String> {
        statement.to_sql(&mut self.out, &self.backend)?;
        Ok(self.out.finish())
    }
}

impl<DB: Backend> std::fmt::Debug for Renderer<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer").finish_non_exhaustive()
    }
}

/// A statement with another text, and further values at its end.
///
/// It borrows the statement mutably, though it changes nothing: so it can be sent to other threads if the statement can.
#[derive(Debug)]
pub(crate) struct Rewritten<'s, S> {
    pub(crate) statement: &'s mut S,
    pub(crate) text: &'s str,
    pub(crate) extra: &'s Sql,
}

impl<S, DB> QueryFragment<DB> for Rewritten<'_, S>
where
    S: QueryFragment<DB>,
    DB: SweepBackend,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if out.bind_collector().is_some() || out.debug_binds().is_some() {
            self.statement.walk_ast(out.reborrow())?;
            return self.extra.walk_ast(out);
        }
        out.unsafe_to_cache_prepared();
        out.push_sql(self.text);
        Ok(())
    }
}

impl<S> QueryId for Rewritten<'_, S> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S> Query for Rewritten<'_, S> {
    type SqlType = Untyped;
}

impl<S, C> RunQueryDsl<C> for Rewritten<'_, S> {}

/// A row of the user's, and after it one column with its keys as a JSON array.
#[derive(Debug)]
pub(crate) struct Keyed<U, ST> {
    pub(crate) row: U,
    pub(crate) keys: String,
    sql_type: PhantomData<fn() -> ST>,
}

impl<U, ST, DB> QueryableByName<DB> for Keyed<U, ST>
where
    DB: SweepBackend,
    U: FromSqlRow<ST, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let last = row.field_count().checked_sub(1).ok_or("the statement returned no column")?;
        let keys = Row::get(row, last).map_or(Ok(None), |field| DB::read_text(field.value()))?;
        let user = U::build_from_row(&row.partial_row(0..last))?;
        Ok(Self { row: user, keys: keys.ok_or("the changed row has no key")?, sql_type: PhantomData })
    }
}

/// Reads the JSON array of keys.
pub(crate) fn read_keys(json: &str) -> QueryResult<crate::sql::TextRow> {
    serde_json::from_str(json)
        .map(crate::sql::TextRow)
        .map_err(|error| diesel::result::Error::DeserializationError(format!("the changed row's keys, {json}: {error}").into()))
}
