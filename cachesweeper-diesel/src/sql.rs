//! SQL of our own: dialects, values as text, statements that are made at run time, and the rows they return.
//!
//! Keys travel as text in both directions: a record key is text anyway, and so one kind of row serves every entity.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::{Field, NamedRow, Row};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text, Untyped};
use diesel::{QueryResult, RunQueryDsl};

/// Which SQL a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite, 3.35 or newer.
    Sqlite,
}

/// What kind of column a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers of any width.
    Integer,
    /// Text of any width. Databases may compare it without regard to case.
    Text,
    /// Booleans.
    Bool,
    /// PostgreSQL's `UUID`.
    Uuid,
    /// Bytes.
    Bytes,
}

impl Dialect {
    /// Whether changed rows can be returned by the statement that changes them.
    pub(crate) fn returns(self) -> bool {
        self != Self::MySql
    }

    /// A name in quotes. On SQLite not in double ones, where a misspelt name would be a text.
    pub(crate) fn quote(self, name: &str) -> String {
        match self {
            Self::MySql | Self::Sqlite => format!("`{}`", name.replace('`', "``")),
            Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// `table`, or `schema.table`, each part in quotes.
    pub(crate) fn quote_table(self, schema: Option<&str>, table: &str) -> String {
        match schema {
            Some(schema) => format!("{}.{}", self.quote(schema), self.quote(table)),
            None => self.quote(table),
        }
    }

    /// A key column's value as the text that record keys have.
    pub(crate) fn as_text(self, kind: Kind, expression: &str) -> String {
        match (self, kind) {
            (Self::Postgres, Kind::Bytes) => format!("encode({expression}, 'hex')"),
            (Self::MySql | Self::Sqlite, Kind::Bytes) => format!("LOWER(HEX({expression}))"),
            (Self::Postgres | Self::Sqlite, _) => format!("CAST({expression} AS TEXT)"),
            (Self::MySql, _) => format!("CAST({expression} AS CHAR)"),
        }
    }

    /// The lock that an UPDATE takes, and no stronger one. SQLite has one writer, and no row locks.
    pub(crate) fn lock(self) -> &'static str {
        match self {
            Self::Postgres => " FOR NO KEY UPDATE",
            Self::MySql => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }
}

/// A part of a key as the database gives it, made the same on all of them.
pub(crate) fn canonical(kind: Kind, text: String) -> String {
    match (kind, text.as_str()) {
        (Kind::Bool, "1" | "t") => "true".to_owned(),
        (Kind::Bool, "0" | "f") => "false".to_owned(),
        _ => text,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bound {
    Integer(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Sql(String),
    Bound(Bound),
}

/// A statement, or the end of one, made at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sql {
    parts: Vec<Part>,
    /// Whether its text is one of few, so that the connection may keep it prepared.
    few: bool,
}

impl Sql {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Sql(text.into())], few: false }
    }

    /// Tells that there are few statements with this text.
    pub(crate) fn kept_prepared(mut self, few: bool) -> Self {
        self.few = few;
        self
    }

    pub(crate) fn push(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Sql(last)) => last.push_str(text),
            _ => self.parts.push(Part::Sql(text.to_owned())),
        }
    }

    /// Adds a value of a key column, as an expression of the column's type.
    pub(crate) fn push_value(&mut self, dialect: Dialect, kind: Kind, value: &str) {
        match kind {
            Kind::Integer => match value.parse() {
                Ok(number) => self.parts.push(Part::Bound(Bound::Integer(number))),
                // Beyond 64 bits with a sign: MySQL's unsigned numbers. Only digits become SQL.
                Err(_) => self.push(if value.bytes().all(|byte| byte.is_ascii_digit()) { value } else { "NULL" }),
            },
            Kind::Bool => self.push(if value == "true" { "TRUE" } else { "FALSE" }),
            Kind::Text => self.parts.push(Part::Bound(Bound::Text(value.to_owned()))),
            Kind::Uuid => self.push_wrapped("CAST(", value, if dialect == Dialect::Postgres { " AS UUID)" } else { " AS CHAR)" }),
            Kind::Bytes => match dialect {
                Dialect::Postgres => self.push_wrapped("decode(", value, ", 'hex')"),
                Dialect::MySql => self.push_wrapped("UNHEX(", value, ")"),
                // SQLite has a function for it since 3.41 only. Only hexadecimal digits become SQL.
                Dialect::Sqlite if value.bytes().all(|byte| byte.is_ascii_hexdigit()) => self.push(&format!("x'{value}'")),
                Dialect::Sqlite => self.push("NULL"),
            },
        }
    }

    pub(crate) fn push_text(&mut self, value: &str) {
        self.parts.push(Part::Bound(Bound::Text(value.to_owned())));
    }

    fn push_wrapped(&mut self, before: &str, value: &str, after: &str) {
        self.push(before);
        self.push_text(value);
        self.push(after);
    }

    /// `<columns> IN (<values>)`, or its like for several columns.
    pub(crate) fn push_among(&mut self, dialect: Dialect, columns: &[(&str, Kind)], rows: &[Vec<String>]) {
        if let [(name, kind)] = columns {
            self.push(&format!("{} IN (", dialect.quote(name)));
            for (position, value) in rows.iter().filter_map(|row| row.first()).enumerate() {
                self.push(if position > 0 { ", " } else { "" });
                self.push_value(dialect, *kind, value);
            }
            return self.push(")");
        }
        self.push("(");
        for (position, row) in rows.iter().enumerate() {
            self.push(if position > 0 { " OR (" } else { "(" });
            for (at, ((name, kind), value)) in columns.iter().zip(row).enumerate() {
                self.push(&format!("{}{} = ", if at > 0 { " AND " } else { "" }, dialect.quote(name)));
                self.push_value(dialect, *kind, value);
            }
            self.push(")");
        }
        self.push(")");
    }

    /// Its text with numbered or plain placeholders, after `bound` values that another part of the statement has.
    pub(crate) fn text_after(&self, dialect: Dialect, bound: usize) -> String {
        let (mut text, mut number) = (String::new(), bound);
        for part in &self.parts {
            match part {
                Part::Sql(sql) => text.push_str(sql),
                Part::Bound(_) if dialect == Dialect::Postgres => {
                    number += 1;
                    text.push_str(&format!("${number}"));
                }
                Part::Bound(_) => text.push('?'),
            }
        }
        text
    }
}

/// A backend that the wrappers work on: any that has numbers and text. Implemented for all of Diesel's, and for those of its
/// `MultiConnection`.
pub trait SweepBackend: Backend {
    #[doc(hidden)]
    fn bind_integer<'b>(out: &mut AstPass<'_, 'b, Self>, value: &'b i64) -> QueryResult<()>;
    #[doc(hidden)]
    fn bind_text<'b>(out: &mut AstPass<'_, 'b, Self>, value: &'b str) -> QueryResult<()>;
    #[doc(hidden)]
    fn read_text(value: Option<Self::RawValue<'_>>) -> deserialize::Result<Option<String>>;
}

impl<DB> SweepBackend for DB
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text>,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
    String: FromSql<Text, DB>,
{
    fn bind_integer<'b>(out: &mut AstPass<'_, 'b, Self>, value: &'b i64) -> QueryResult<()> {
        out.push_bind_param::<BigInt, i64>(value)
    }

    fn bind_text<'b>(out: &mut AstPass<'_, 'b, Self>, value: &'b str) -> QueryResult<()> {
        out.push_bind_param::<Text, str>(value)
    }

    fn read_text(value: Option<Self::RawValue<'_>>) -> deserialize::Result<Option<String>> {
        value.map(|value| <String as FromSql<Text, DB>>::from_sql(value)).transpose()
    }
}

impl<DB: SweepBackend> QueryFragment<DB> for Sql {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.few {
            out.unsafe_to_cache_prepared();
        }
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_sql(text),
                Part::Bound(Bound::Integer(number)) => DB::bind_integer(&mut out, number)?,
                Part::Bound(Bound::Text(text)) => DB::bind_text(&mut out, text)?,
            }
        }
        Ok(())
    }
}

impl QueryId for Sql {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Sql {
    type SqlType = Untyped;
}

impl<C> RunQueryDsl<C> for Sql {}

/// A row of text columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextRow(pub(crate) Vec<Option<String>>);

impl<DB: SweepBackend> QueryableByName<DB> for TextRow {
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let column = |at: usize| Row::get(row, at).map_or(Ok(None), |field| DB::read_text(field.value()));
        (0..row.field_count()).map(column).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_go_on_where_the_statement_ended() {
        let mut sql = Sql::new("AND ");
        sql.push_among(Dialect::Postgres, &[("id", Kind::Integer)], &[vec!["7".into()], vec!["18446744073709551615".into()]]);
        assert_eq!(sql.text_after(Dialect::Postgres, 3), r#"AND "id" IN ($4, 18446744073709551615)"#);
        let mut sql = Sql::default();
        sql.push_among(Dialect::MySql, &[("a", Kind::Integer), ("b`", Kind::Text)], &[vec!["1".into(), "x".into()]]);
        assert_eq!(sql.text_after(Dialect::MySql, 3), "((`a` = ? AND `b``` = ?))");
    }

    #[test]
    fn only_what_looks_like_its_kind_becomes_sql() {
        let mut sql = Sql::default();
        sql.push_value(Dialect::Sqlite, Kind::Integer, "1; DROP TABLE comment");
        sql.push_value(Dialect::Sqlite, Kind::Bytes, "00'; DROP TABLE comment");
        sql.push_value(Dialect::MySql, Kind::Bool, "true OR TRUE");
        assert_eq!(sql.text_after(Dialect::Sqlite, 0), "NULLNULLFALSE");
    }
}
