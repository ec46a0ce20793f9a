//! Inserts on SQLite. Diesel has its own way to insert several rows there, some by one statement each, so these go through
//! Diesel's own RETURNING instead of a text of ours.

use std::collections::HashSet;
use std::fmt::Display;
use std::future::{Future, ready};
use std::sync::{Mutex, PoisonError};

use cachesweeper_core::blocking::Sweeper;
use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, DebugQuery, InsertStatement, Query, QueryFragment, QueryId, ReturningClause};
use diesel::query_dsl::methods::{ExecuteDsl, LoadQuery};
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, QuerySource, RunQueryDsl, SqliteConnection, Table, debug_query};

use crate::db::Blocking;
use crate::describe::SweepTable;
use crate::rewrite::{SWEPT, read_keys};
use crate::runnable::{How, Ran, Returning, Runnable};
use crate::sql::TextRow;
use crate::statement::{InsertOn, LoadInsertOn, inserts, run};

/// The expression that gives a new row's keys. Diesel runs a batch whose rows may leave columns out as one statement per row,
/// each with a copy of what is returned, so it is `Copy`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Keys(&'static str);

impl Keys {
    fn new(text: String) -> Self {
        // One per table and form, for the program's life.
        static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = texts.get_or_insert_with(HashSet::new);
        let known = texts.get(text.as_str()).copied();
        Self(known.unwrap_or_else(|| {
            let text: &'static str = text.leak();
            texts.insert(text);
            text
        }))
    }
}

impl Expression for Keys {
    type SqlType = Text;
}

impl<DB: Backend> QueryFragment<DB> for Keys {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql(self.0);
        Ok(())
    }
}

impl QueryId for Keys {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<QS> SelectableExpression<QS> for Keys {}

impl<QS> AppearsOnTable<QS> for Keys {}

impl<GB> ValidGrouping<GB> for Keys {
    type IsAggregate = is_aggregate::Never;
}

/// An insert that has not run yet; `'q` is how long what it borrows lives, as Diesel's `LoadQuery` wants to know.
struct Insert<'q, S, U> {
    statement: Option<S>,
    row: std::marker::PhantomData<fn(&'q ()) -> U>,
}

impl<S, U> Insert<'_, S, U> {
    fn new(statement: S) -> Self {
        Self { statement: Some(statement), row: std::marker::PhantomData }
    }

    fn take(&mut self) -> QueryResult<S> {
        self.statement.take().ok_or(diesel::result::Error::NotFound)
    }
}

impl<T: QuerySource, V, Op> Returning for Insert<'_, InsertStatement<T, V, Op>, ()> {
    type Row = ();

    const RETURNS: bool = false;
}

impl<T: QuerySource, V, Op, R, U: Send> Returning for Insert<'_, InsertStatement<T, V, Op, ReturningClause<R>>, U> {
    type Row = U;

    const RETURNS: bool = true;
}

/// The text of the first statement that Diesel will send.
fn text(shown: &dyn Display) -> String {
    let shown = shown.to_string();
    // No rows make no statement.
    let Some(begin) = shown.find("INSERT") else { return "SELECT 1 FROM nothing".to_owned() };
    let shown = &shown[begin..];
    let end = shown.find(" -- binds: ").unwrap_or(shown.len());
    shown[..end].trim_end().to_owned()
}

fn keys(how: &How) -> Keys {
    Keys::new(format!("{}{SWEPT}", how.keys.as_deref().unwrap_or("NULL")))
}

/// A text of ours cannot be sent with Diesel's way of inserting. Nothing asks for one here.
fn no_text() -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError("an insert on SQLite is not sent under another text".into())
}

impl<'c, 'q, T, V, Op> Runnable<Blocking<'c, SqliteConnection>> for Insert<'q, InsertStatement<T, V, Op>, ()>
where
    T: QuerySource,
    InsertStatement<T, V, Op>: Send,
    for<'d> DebugQuery<'d, InsertStatement<T, V, Op>, Sqlite>: Display,
    InsertStatement<T, V, Op>: ExecuteDsl<SqliteConnection>,
    InsertStatement<T, V, Op, ReturningClause<Keys>>: Query + LoadQuery<'q, SqliteConnection, String>,
{
    fn text(&mut self, _: &Blocking<'c, SqliteConnection>) -> QueryResult<String> {
        let statement = self.take()?;
        let text = text(&debug_query::<Sqlite, _>(&statement));
        self.statement = Some(statement);
        Ok(text)
    }

    fn run(&mut self, db: &mut Blocking<'c, SqliteConnection>, how: &How) -> impl Future<Output = QueryResult<Ran<()>>> + Send {
        if how.keys.is_none() {
            let executed = self.take().and_then(|statement| ExecuteDsl::execute(statement, db.0));
            return ready(executed.map(|affected| Ran { affected, ..Ran::default() }));
        }
        let loaded = self.take().and_then(|statement| statement.returning(keys(how)).load::<String>(db.0));
        let ran = loaded.and_then(|loaded| {
            let keys = loaded.iter().map(|keys| read_keys(keys)).collect::<QueryResult<Vec<TextRow>>>()?;
            Ok(Ran { affected: keys.len(), rows: Vec::new(), keys })
        });
        ready(ran)
    }

    fn select(&mut self, _: &mut Blocking<'c, SqliteConnection>, _: &str) -> impl Future<Output = QueryResult<Vec<TextRow>>> + Send {
        ready(Err(no_text()))
    }
}

impl<'c, 'q, U, T, V, Op, R> Runnable<Blocking<'c, SqliteConnection>> for Insert<'q, InsertStatement<T, V, Op, ReturningClause<R>>, U>
where
    T: Table + Copy,
    Op: Copy,
    U: Send,
    InsertStatement<T, V, Op, ReturningClause<R>>: Send,
    for<'d> DebugQuery<'d, InsertStatement<T, V, Op>, Sqlite>: Display,
    InsertStatement<T, V, Op, ReturningClause<(R, Keys)>>: Query + LoadQuery<'q, SqliteConnection, (U, String)>,
{
    fn text(&mut self, _: &Blocking<'c, SqliteConnection>) -> QueryResult<String> {
        let InsertStatement { target, records, operator, returning, .. } = self.take()?;
        // Diesel does not name the clause of a statement that returns nothing.
        let nothing = diesel::insert_into(target).default_values().returning;
        let statement = InsertStatement::new(target, records, operator, nothing);
        let text = text(&debug_query::<Sqlite, _>(&statement));
        self.statement = Some(InsertStatement::new(target, statement.records, operator, returning));
        Ok(text)
    }

    fn run(&mut self, db: &mut Blocking<'c, SqliteConnection>, how: &How) -> impl Future<Output = QueryResult<Ran<U>>> + Send {
        let loaded = self.take().and_then(|statement| {
            let InsertStatement { target, records, operator, returning, .. } = statement;
            let returning = ReturningClause((returning.0, keys(how)));
            InsertStatement::new(target, records, operator, returning).load::<(U, String)>(db.0)
        });
        let ran = loaded.and_then(|loaded| {
            let keys = loaded.iter().map(|(_, keys)| read_keys(keys)).collect::<QueryResult<Vec<TextRow>>>()?;
            Ok(Ran { affected: keys.len(), rows: loaded.into_iter().map(|(row, _)| row).collect(), keys })
        });
        ready(ran)
    }

    fn select(&mut self, _: &mut Blocking<'c, SqliteConnection>, _: &str) -> impl Future<Output = QueryResult<Vec<TextRow>>> + Send {
        ready(Err(no_text()))
    }
}

impl<'q, M, T, V, Op> InsertOn<M, SqliteConnection, inserts::Split> for InsertStatement<T, V, Op>
where
    T: SweepTable<M>,
    Self: Send,
    for<'d> DebugQuery<'d, Self, Sqlite>: Display,
    InsertStatement<T, V, Op>: ExecuteDsl<SqliteConnection>,
    InsertStatement<T, V, Op, ReturningClause<Keys>>: Query + LoadQuery<'q, SqliteConnection, String>,
{
    fn insert_swept(self, sweeper: &Sweeper, conn: &mut SqliteConnection) -> QueryResult<usize> {
        Ok(run::<M, T, SqliteConnection, _>(sweeper, conn, Insert::<'q, _, ()>::new(self))?.affected)
    }
}

impl<'q, M, U, T, V, Op, R> LoadInsertOn<M, SqliteConnection, U, inserts::Split> for InsertStatement<T, V, Op, ReturningClause<R>>
where
    T: SweepTable<M> + Copy,
    Op: Copy,
    U: Send,
    Self: Send,
    for<'d> DebugQuery<'d, InsertStatement<T, V, Op>, Sqlite>: Display,
    InsertStatement<T, V, Op, ReturningClause<(R, Keys)>>: Query + LoadQuery<'q, SqliteConnection, (U, String)>,
{
    fn load_inserted(self, sweeper: &Sweeper, conn: &mut SqliteConnection) -> QueryResult<Vec<U>> {
        Ok(run::<M, T, SqliteConnection, _>(sweeper, conn, Insert::<'q, _, U>::new(self))?.rows)
    }
}
