//! Digests of rows: 128-bit XXH3 over the columns, in the model's order.

use std::cell::Cell;

use xxhash_rust::xxh3::xxh3_128;

/// Collects a row's columns and hashes them.
///
/// Every column is written with its length or a fixed width, so that no two rows look alike to the hash.
#[derive(Debug)]
pub struct RowDigest {
    bytes: Vec<u8>,
}

/// Bytes of a buffer that its thread keeps for the next row, at most.
const KEPT: usize = 64 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Default for RowDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RowDigest {
    fn drop(&mut self) {
        if self.bytes.capacity() <= KEPT {
            let bytes = std::mem::take(&mut self.bytes);
            let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
        }
    }
}

impl RowDigest {
    /// An empty row.
    pub fn new() -> Self {
        // Empty while the thread's buffer is in use by another row, and at the thread's very end.
        let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        Self { bytes }
    }

    /// Adds bytes of a width that the column's type fixes.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds bytes of any length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds a value that only has a debug form.
    pub fn debug(&mut self, value: &dyn std::fmt::Debug) {
        self.bytes(format!("{value:?}").as_bytes());
    }

    /// The digest.
    pub fn finish(&self) -> u128 {
        xxh3_128(&self.bytes)
    }
}

/// A column's value, as the row's digest sees it. Implemented for the common column types; the derives fall back to the
/// ORM's own value type for all others.
pub trait DigestColumn {
    /// Adds the value to the row's digest.
    fn digest_into(&self, row: &mut RowDigest);
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl DigestColumn for $type {
            fn digest_into(&self, row: &mut RowDigest) {
                row.fixed(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64);

impl DigestColumn for bool {
    fn digest_into(&self, row: &mut RowDigest) {
        row.fixed(&[u8::from(*self)]);
    }
}

impl DigestColumn for char {
    fn digest_into(&self, row: &mut RowDigest) {
        row.fixed(&u32::from(*self).to_le_bytes());
    }
}

impl DigestColumn for str {
    fn digest_into(&self, row: &mut RowDigest) {
        row.bytes(self.as_bytes());
    }
}

impl DigestColumn for String {
    fn digest_into(&self, row: &mut RowDigest) {
        row.bytes(self.as_bytes());
    }
}

impl DigestColumn for Vec<u8> {
    fn digest_into(&self, row: &mut RowDigest) {
        row.bytes(self);
    }
}

impl<T: DigestColumn> DigestColumn for Option<T> {
    fn digest_into(&self, row: &mut RowDigest) {
        row.fixed(&[u8::from(self.is_some())]);
        if let Some(value) = self {
            value.digest_into(row);
        }
    }
}

#[cfg(feature = "uuid")]
impl DigestColumn for uuid::Uuid {
    fn digest_into(&self, row: &mut RowDigest) {
        row.fixed(self.as_bytes());
    }
}

macro_rules! timestamps {
    ($($(#[$meta:meta])* $type:ty => |$this:ident| $digest:expr, $micros:expr, $from:expr;)*) => {$(
        $(#[$meta])*
        impl DigestColumn for $type {
            fn digest_into(&self, row: &mut RowDigest) {
                let $this = self;
                row.fixed(&$digest.to_le_bytes());
            }
        }

        $(#[$meta])*
        impl TimestampColumn for $type {
            fn micros(&self) -> Option<crate::Micros> {
                let $this = self;
                u64::try_from($micros).ok().map(crate::Micros)
            }

            fn from_micros(micros: crate::Micros) -> Option<Self> {
                let from: fn(i64) -> Option<Self> = $from;
                from(i64::try_from(micros.0).ok()?)
            }
        }
    )*};
}

/// A type that a strategy column can have: `#[sweep(using = "…")]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a version: the column named by `using` must be a timestamp",
    label = "use a `DateTime` of chrono, or a `PrimitiveDateTime` or `OffsetDateTime` of time (or an `Option` of one)",
    note = "the crate's features `chrono` and `time` switch them on"
)]
pub trait TimestampColumn {
    /// Microseconds since the Unix epoch (a type without a zone counts as UTC); `None` before it, and for NULL.
    fn micros(&self) -> Option<crate::Micros>;

    /// The timestamp at this instant; `None` if the type cannot hold it.
    fn from_micros(micros: crate::Micros) -> Option<Self>
    where
        Self: Sized;
}

impl<T: TimestampColumn> TimestampColumn for Option<T> {
    fn micros(&self) -> Option<crate::Micros> {
        self.as_ref().and_then(TimestampColumn::micros)
    }

    fn from_micros(micros: crate::Micros) -> Option<Self> {
        T::from_micros(micros).map(Some)
    }
}

timestamps! {
    #[cfg(feature = "chrono")] chrono::NaiveDateTime =>
        |this| this.and_utc().timestamp_nanos_opt().unwrap_or_else(|| this.and_utc().timestamp_micros()),
        this.and_utc().timestamp_micros(),
        |micros| chrono::DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc());
    #[cfg(feature = "time")] time::OffsetDateTime =>
        |this| this.unix_timestamp_nanos(), this.unix_timestamp_nanos() / 1000,
        |micros| time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok();
    #[cfg(feature = "time")] time::PrimitiveDateTime =>
        |this| this.assume_utc().unix_timestamp_nanos(), this.assume_utc().unix_timestamp_nanos() / 1000,
        |micros| {
            let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()?;
            Some(time::PrimitiveDateTime::new(at.date(), at.time()))
        };
}

#[cfg(feature = "chrono")]
impl<Z: chrono::TimeZone> DigestColumn for chrono::DateTime<Z> {
    fn digest_into(&self, row: &mut RowDigest) {
        // The zone is not part of the instant, but it can be part of what is shown.
        self.naive_utc().digest_into(row);
        row.fixed(&chrono::Offset::fix(self.offset()).local_minus_utc().to_le_bytes());
    }
}

macro_rules! zones {
    ($($zone:ty => $with:expr;)*) => {$(
        #[cfg(feature = "chrono")]
        impl TimestampColumn for chrono::DateTime<$zone> {
            fn micros(&self) -> Option<crate::Micros> {
                self.naive_utc().micros()
            }

            fn from_micros(micros: crate::Micros) -> Option<Self> {
                let at = chrono::DateTime::from_timestamp_micros(i64::try_from(micros.0).ok()?)?;
                let with: fn(chrono::DateTime<chrono::Utc>) -> Self = $with;
                Some(with(at))
            }
        }
    )*};
}

zones! {
    chrono::Utc => |at| at;
    chrono::FixedOffset => |at| at.fixed_offset();
    chrono::Local => |at| at.with_timezone(&chrono::Local);
}
