//! Columns as the derive sees them: parts of keys, digests, timestamps.

use std::borrow::Cow;
use std::fmt::{Debug, Write as _};
use std::marker::PhantomData;

use cachesweeper_core::Micros;
use cachesweeper_core::digest::{DigestColumn, RowDigest, TimestampColumn};
use diesel::sql_types;

use crate::sql::Kind;

/// A column's value under digestion; see [`DigestByColumn`].
pub struct Column<'a, T>(pub &'a T);

/// Digests the types that the core knows. The compiler prefers it to [`DigestByDebug`] because it is implemented for one
/// reference more.
pub trait DigestByColumn {
    /// Adds the column to the row's digest.
    fn digest_into(&self, row: &mut RowDigest);
}

impl<T: DigestColumn> DigestByColumn for &Column<'_, T> {
    fn digest_into(&self, row: &mut RowDigest) {
        self.0.digest_into(row);
    }
}

/// Digests all other types that a row can have.
pub trait DigestByDebug {
    /// Adds the column to the row's digest.
    fn digest_into(&self, row: &mut RowDigest);
}

impl<T: Debug> DigestByDebug for Column<'_, T> {
    fn digest_into(&self, row: &mut RowDigest) {
        row.debug(self.0);
    }
}

/// A type that a primary key can have: it names the record.
///
/// Implement it for your own key types, so that the text is that of the column in the database:
///
/// ```
/// use std::borrow::Cow;
/// use cachesweeper_diesel::KeyColumn;
///
/// struct ArticleId(i64);
///
/// impl KeyColumn for ArticleId {
///     fn key_part(&self) -> Cow<'_, str> {
///         self.0.key_part()
///     }
/// }
/// # assert_eq!(ArticleId(7).key_part(), "7");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name a record: its primary key must be a number, text, a boolean, bytes or a UUID",
    label = "implement `cachesweeper_diesel::KeyColumn` for this type, for example by the type it wraps",
    note = "UUIDs need the feature `uuid`"
)]
pub trait KeyColumn {
    /// The value's part of the record key: what the database gives for the column as text. Bytes are hexadecimal, in small
    /// letters; booleans `true` and `false`.
    fn key_part(&self) -> Cow<'_, str>;
}

macro_rules! displayed {
    ($($(#[$meta:meta])* $type:ty),* $(,)?) => {$(
        $(#[$meta])*
        impl KeyColumn for $type {
            fn key_part(&self) -> Cow<'_, str> {
                Cow::Owned(self.to_string())
            }
        }
    )*};
}

displayed!(
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
    bool,
    #[cfg(feature = "uuid")]
    uuid::Uuid
);

impl KeyColumn for String {
    fn key_part(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl KeyColumn for Vec<u8> {
    fn key_part(&self) -> Cow<'_, str> {
        let mut text = String::with_capacity(2 * self.len());
        for byte in self {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Cow::Owned(text)
    }
}

/// An SQL type that a key can have, primary or foreign.
#[diagnostic::on_unimplemented(
    message = "a column of type `{Self}` cannot be part of a key that is swept",
    label = "expected a number, `Text`, `Bool`, `Binary` or PostgreSQL's `Uuid`",
    note = "leave a parent out with `#[sweep(parents(…))]` if its foreign key has another type"
)]
pub trait KeyType {
    /// How its values are written and read.
    const KIND: Kind;
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $type:ty => $kind:ident;)*) => {$(
        $(#[$meta])*
        impl KeyType for $type {
            const KIND: Kind = Kind::$kind;
        }
    )*};
}

kinds! {
    sql_types::TinyInt => Integer;
    sql_types::SmallInt => Integer;
    sql_types::Integer => Integer;
    sql_types::BigInt => Integer;
    #[cfg(feature = "mysql_backend")] sql_types::Unsigned<sql_types::TinyInt> => Integer;
    #[cfg(feature = "mysql_backend")] sql_types::Unsigned<sql_types::SmallInt> => Integer;
    #[cfg(feature = "mysql_backend")] sql_types::Unsigned<sql_types::Integer> => Integer;
    #[cfg(feature = "mysql_backend")] sql_types::Unsigned<sql_types::BigInt> => Integer;
    sql_types::Text => Text;
    #[cfg(feature = "postgres_backend")] sql_types::Citext => Text;
    sql_types::Bool => Bool;
    sql_types::Binary => Bytes;
    #[cfg(feature = "postgres_backend")] sql_types::Uuid => Uuid;
}

impl<T> KeyType for sql_types::Nullable<T>
where
    T: KeyType + sql_types::SqlType,
{
    const KIND: Kind = T::KIND;
}

/// An SQL type that a version can have: `#[sweep(using = "…")]`.
#[diagnostic::on_unimplemented(
    message = "a column of type `{Self}` cannot be a version: the column named by `using` must be a timestamp",
    label = "expected `Timestamp`, `Timestamptz`, `TimestamptzSqlite` or `Datetime`"
)]
pub trait VersionType {
    /// Whether it has a zone.
    const ZONED: bool;
}

macro_rules! versions {
    ($($(#[$meta:meta])* $type:ty => $zoned:literal;)*) => {$(
        $(#[$meta])*
        impl VersionType for $type {
            const ZONED: bool = $zoned;
        }
    )*};
}

versions! {
    sql_types::Timestamp => false;
    #[cfg(feature = "mysql_backend")] sql_types::Datetime => false;
    #[cfg(feature = "postgres_backend")] sql_types::Timestamptz => true;
    #[cfg(feature = "sqlite")] sql_types::TimestamptzSqlite => true;
}

impl<T> VersionType for sql_types::Nullable<T>
where
    T: VersionType + sql_types::SqlType,
{
    const ZONED: bool = T::ZONED;
}

/// A value of the column `C` in a row: a part of its key, or its version.
///
/// A column whose SQL type is wrong is reported where the entity is described. The Rust type will be wrong then too, so it is
/// looked at only if the SQL type is right: one mistake, one message.
pub struct Value<'a, C, T>(pub &'a T, pub PhantomData<C>);

/// Reads a part of a primary key. The compiler prefers it to [`ReadNothing`] because it is implemented for one reference more.
pub trait ReadKey<'a, T> {
    /// The value's part of the record key.
    fn key_part(&self) -> Cow<'a, str>
    where
        T: KeyColumn;
}

impl<'a, C: diesel::Column<SqlType: KeyType>, T> ReadKey<'a, T> for &Value<'a, C, T> {
    fn key_part(&self) -> Cow<'a, str>
    where
        T: KeyColumn,
    {
        self.0.key_part()
    }
}

/// Reads a version. The compiler prefers it to [`ReadNothing`] as it does [`ReadKey`].
pub trait ReadVersion<T> {
    /// The value as an instant.
    fn micros(&self) -> Option<Micros>
    where
        T: TimestampColumn;
}

impl<C: diesel::Column<SqlType: VersionType>, T> ReadVersion<T> for &Value<'_, C, T> {
    fn micros(&self) -> Option<Micros>
    where
        T: TimestampColumn,
    {
        self.0.micros()
    }
}

/// Stands for a column that has been reported.
pub trait ReadNothing<'a> {
    /// Nothing.
    fn key_part(&self) -> Cow<'a, str> {
        Cow::Borrowed("")
    }

    /// Nothing.
    fn micros(&self) -> Option<Micros> {
        None
    }
}

impl<'a, C, T> ReadNothing<'a> for Value<'a, C, T> {}

/// SQLite has no timestamps: Diesel keeps them as text, `2026-01-31 12:00:00.123456`, those with a zone in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SqliteTime;

impl SqliteTime {
    /// The text of an instant; `None` if it cannot be written.
    #[cfg(feature = "chrono")]
    pub(crate) fn write(micros: Micros, zoned: bool) -> Option<String> {
        let at = chrono::DateTime::from_timestamp_micros(i64::try_from(micros.0).ok()?)?;
        Some(at.format(if zoned { "%F %T%.6f+00:00" } else { "%F %T%.6f" }).to_string())
    }

    /// The instant of a text, whoever wrote it; `None` if it is none.
    #[cfg(feature = "chrono")]
    pub(crate) fn read(text: &str) -> Option<Micros> {
        let text = text.trim().replacen('T', " ", 1);
        let zoned = chrono::DateTime::parse_from_str(&text.replace('Z', "+00:00"), "%F %T%.f%:z").map(|at| at.timestamp_micros());
        let micros = zoned.or_else(|_| chrono::NaiveDateTime::parse_from_str(&text, "%F %T%.f").map(|at| at.and_utc().timestamp_micros()));
        u64::try_from(micros.ok()?).ok().map(Micros)
    }

    #[cfg(all(feature = "time", not(feature = "chrono")))]
    pub(crate) fn write(micros: Micros, zoned: bool) -> Option<String> {
        let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros.0) * 1000).ok()?;
        Some(at.format(format).ok()? + if zoned { "+00:00" } else { "" })
    }

    #[cfg(all(feature = "time", not(feature = "chrono")))]
    pub(crate) fn read(text: &str) -> Option<Micros> {
        use time::macros::format_description;
        let text = text.trim().replacen('T', " ", 1).replace('Z', "+00:00");
        let (plain, zone) = match text.get(19..).and_then(|rest| rest.find(['+', '-'])) {
            Some(at) => text.split_at(19 + at),
            None => (text.as_str(), "+00:00"),
        };
        let plain = if plain.contains('.') { plain.to_owned() } else { format!("{plain}.0") };
        let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond]");
        let at = time::PrimitiveDateTime::parse(&plain, format).ok()?;
        let zone = time::UtcOffset::parse(zone, format_description!("[offset_hour sign:mandatory]:[offset_minute]")).ok()?;
        u64::try_from(at.assume_offset(zone).unix_timestamp_nanos() / 1000).ok().map(Micros)
    }

    #[cfg(not(any(feature = "time", feature = "chrono")))]
    pub(crate) fn write(_: Micros, _: bool) -> Option<String> {
        None
    }

    #[cfg(not(any(feature = "time", feature = "chrono")))]
    pub(crate) fn read(_: &str) -> Option<Micros> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(feature = "time", feature = "chrono"))]
    fn sqlite_text_is_an_instant_and_back() {
        let at = Micros(1_769_860_800_123_456);
        for zoned in [false, true] {
            assert_eq!(SqliteTime::write(at, zoned).as_deref().and_then(SqliteTime::read), Some(at));
        }
        for text in ["2026-01-31 12:00:00.123456", "2026-01-31T12:00:00.123456Z", "2026-01-31 13:00:00.123456+01:00"] {
            assert_eq!(SqliteTime::read(text), Some(at), "{text}");
        }
        assert_eq!(SqliteTime::read("2026-01-31 12:00:00"), Some(Micros(1_769_860_800_000_000)));
        assert_eq!(SqliteTime::read("2461072.0"), None);
    }

    #[test]
    fn key_parts_are_what_the_databases_give() {
        assert_eq!(i64::MIN.key_part(), "-9223372036854775808");
        assert_eq!((true.key_part(), vec![0_u8, 255].key_part()), ("true".into(), "00ff".into()));
        assert_eq!("ä b".to_owned().key_part(), "ä b");
    }
}
