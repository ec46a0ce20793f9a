//! SeaORM's values in keys and digests.

use std::fmt::Write as _;

use cachesweeper_core::RecordKey;
use cachesweeper_core::digest::{DigestColumn, RowDigest};
use sea_orm::{Iterable, ModelTrait, PrimaryKeyToColumn, Value};

use crate::describe::SweepEntity;

/// A column's value under digestion; see [`DigestByColumn`].
pub struct Column<'a, T>(pub &'a T);

/// Digests the types that the core knows, without a detour over SeaORM's value type. The compiler prefers it to
/// [`DigestByValue`] because it is implemented for one reference more.
pub trait DigestByColumn {
    /// Adds the column to the row's digest.
    fn digest_into(&self, row: &mut RowDigest);
}

impl<T: DigestColumn> DigestByColumn for &Column<'_, T> {
    fn digest_into(&self, row: &mut RowDigest) {
        self.0.digest_into(row);
    }
}

/// Digests every type that a model can have.
pub trait DigestByValue {
    /// Adds the column to the row's digest.
    fn digest_into(&self, row: &mut RowDigest);
}

impl<T: Clone + Into<Value>> DigestByValue for Column<'_, T> {
    fn digest_into(&self, row: &mut RowDigest) {
        row.debug(&self.0.clone().into());
    }
}

/// The record key of a row of `E` whose primary key has these values.
pub fn key_of_values<E: SweepEntity>(values: impl IntoIterator<Item = Value>) -> RecordKey {
    record_key(E::entity().name(), &values.into_iter().collect::<Vec<_>>())
}

/// The record key of a model whose primary key is told by the entity only.
pub fn key_of_model<E: SweepEntity>(model: &E::Model) -> RecordKey {
    key_of_values::<E>(<E::PrimaryKey as Iterable>::iter().map(|key| model.get(key.into_column())))
}

/// The record key of a row of the table `entity`.
pub(crate) fn record_key(entity: &str, values: &[Value]) -> RecordKey {
    RecordKey::composite(entity, values.iter().map(key_part))
}

/// A primary key's value as text; the same text for every integer type, so that both ends of a foreign key agree.
pub(crate) fn key_part(value: &Value) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match value {
        Value::TinyInt(Some(value)) => write!(text, "{value}"),
        Value::SmallInt(Some(value)) => write!(text, "{value}"),
        Value::Int(Some(value)) => write!(text, "{value}"),
        Value::BigInt(Some(value)) => write!(text, "{value}"),
        Value::TinyUnsigned(Some(value)) => write!(text, "{value}"),
        Value::SmallUnsigned(Some(value)) => write!(text, "{value}"),
        Value::Unsigned(Some(value)) => write!(text, "{value}"),
        Value::BigUnsigned(Some(value)) => write!(text, "{value}"),
        Value::Bool(Some(value)) => write!(text, "{value}"),
        Value::String(Some(value)) => write!(text, "{value}"),
        Value::Char(Some(value)) => write!(text, "{value}"),
        Value::Bytes(Some(bytes)) => bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}")),
        #[cfg(feature = "uuid")]
        Value::Uuid(Some(value)) => write!(text, "{value}"),
        other => write!(text, "{other:?}"),
    };
    text
}

/// Whether the text of this value is the text of every equal value in the database: so for integers and UUIDs, not for text,
/// which may compare case-insensitively there.
pub(crate) fn is_exact(value: &Value) -> bool {
    match value {
        Value::TinyInt(_) | Value::SmallInt(_) | Value::Int(_) | Value::BigInt(_) | Value::Bool(_) => true,
        Value::TinyUnsigned(_) | Value::SmallUnsigned(_) | Value::Unsigned(_) | Value::BigUnsigned(_) => true,
        #[cfg(feature = "uuid")]
        Value::Uuid(_) => true,
        _ => false,
    }
}

pub(crate) fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}
