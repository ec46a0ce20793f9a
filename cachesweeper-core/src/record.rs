//! Records and what a fragment depends on.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::registry::Entity;
use crate::{Micros, escape, keys};

/// Names one record: one row of one entity, as `entity:id`.
///
/// The entity's name is its table's, with its schema if it has one (`blog.comment:42`). Composite ids are escaped and
/// joined by commas (`membership:7,admin`). Two special ids name more than a row: `*` is the entity's collection (see
/// [`RecordKey::collection`]) and `**` the whole entity.
///
/// ```
/// use cachesweeper_core::RecordKey;
///
/// let key = RecordKey::new("comment", 42);
/// assert_eq!(key.to_string(), "comment:42");
/// assert_eq!(RecordKey::composite("membership", ["7", "a,b"]).to_string(), "membership:7,a%2Cb");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    text: Arc<str>,
    entity: usize,
}

impl RecordKey {
    /// The key of the row of `entity` (the table's name) whose primary key is `id`.
    pub fn new(entity: &str, id: impl fmt::Display) -> Self {
        Self::build(entity, |text| escape::displayed(id, text))
    }

    /// The key of the row of `entity` whose primary key has these parts, in the primary key's order.
    pub fn composite<I>(entity: &str, id: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::build(entity, |text| {
            for (position, part) in id.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                escape::part(part.as_ref(), text);
            }
        })
    }

    fn build(entity: &str, id: impl FnOnce(&mut String)) -> Self {
        let mut name = 0;
        let text = keys::build(|text| {
            escape::entity(entity, text);
            name = text.len();
            // Also without any part: so every record has a colon in it, and no text of a user's has one.
            text.push(':');
            id(text);
        });
        Self { text, entity: name }
    }

    /// The version of the whole table: it changes with every record of the entity. Kept only for entities that say
    /// `#[sweep(collection)]`; their derive offers it as `Model::collection()`.
    pub fn collection(entity: &str) -> Self {
        Self::build(entity, |text| text.push('*'))
    }

    /// The record that is invalidated when single records of an entity cannot be named (a tree deeper than its bound).
    pub(crate) fn whole(entity: &str) -> Self {
        Self::build(entity, |text| text.push_str("**"))
    }

    /// The whole key, escaped: ASCII letters, digits and `-._~%:,*` only.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The entity's part, escaped.
    pub fn entity(&self) -> &str {
        &self.text[..self.entity]
    }

    /// The id's parts, as they were given.
    pub fn id(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.text[self.entity..].trim_start_matches(':').split(',').map(escape::unescape)
    }

    /// Whether this is the key of a single row, not of a collection or a whole entity.
    pub fn is_row(&self) -> bool {
        // `*` is escaped in ids, so a bare one is ours.
        !self.text[self.entity..].contains('*')
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({})", self.text)
    }
}

/// How a record is versioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The token is a version log in the store. Needs no column, locks nothing.
    #[default]
    Counter,
    /// The token is a timestamp column of the row itself.
    UpdatedAt,
}

/// A row that fragments can depend on. Derive it (`#[derive(CacheSweep)]` of your ORM's crate); writing it by hand is for
/// data that no supported ORM loads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a CacheSweep entity",
    label = "derive `CacheSweep` on this model to use it in a fragment",
    note = "other values are named by `RecordKey`, or put into the key with `.vary(…)`"
)]
pub trait CacheSweep: Dependencies {
    /// The entity's descriptor.
    fn entity() -> &'static Entity
    where
        Self: Sized;

    /// The row's key.
    fn record_key(&self) -> RecordKey;

    /// A digest of the row's columns, except those with `#[sweep(skip)]`.
    fn row_digest(&self) -> u128;

    /// The strategy column's value, in microseconds since the Unix epoch. `None` for counter entities and for NULL.
    fn updated_at(&self) -> Option<Micros>;

    /// The key of the row with this primary key, which need not be loaded (composite keys: [`RecordKey::composite`]). For
    /// entities of the `counter` strategy.
    fn key(id: impl fmt::Display) -> RecordKey
    where
        Self: Sized + KeyLookup,
    {
        RecordKey::new(Self::entity().name(), id)
    }

    /// Depends on every row of the table, those to come included. For entities that say `#[sweep(collection)]`.
    fn collection() -> RecordKey
    where
        Self: Sized + Collection,
    {
        RecordKey::collection(Self::entity().name())
    }
}

/// An entity whose rows can be named without loading them: those of the `counter` strategy.
#[diagnostic::on_unimplemented(
    message = "a fragment of `{Self}` cannot be looked up by key alone",
    label = "its version is a column of the row (`using = …`), so the row must be loaded",
    note = "pass the loaded row to `fragment(…)`, or use the counter strategy"
)]
pub trait KeyLookup: CacheSweep {}

/// An entity that says `#[sweep(collection)]`: the version of its whole table is kept too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` keeps no version of its collection",
    label = "add `#[sweep(collection)]` to the model to make fragments depend on the whole table"
)]
pub trait Collection: CacheSweep {}

/// One thing a fragment depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The record.
    pub record: RecordKey,
    /// Its row, if the caller holds it.
    pub row: Option<Row>,
}

/// What a [`Dependency`] keeps of a row in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The row's entity.
    pub entity: &'static Entity,
    /// [`CacheSweep::row_digest`].
    pub digest: u128,
    /// [`CacheSweep::updated_at`].
    pub updated_at: Option<Micros>,
}

impl Row {
    /// The dependency on a row in hand.
    pub fn dependency<T: CacheSweep>(row: &T) -> Dependency {
        Dependency {
            record: row.record_key(),
            row: Some(Row { entity: T::entity(), digest: row.row_digest(), updated_at: row.updated_at() }),
        }
    }
}

/// What a fragment can depend on: a row (`&comment`), a [`RecordKey`], and slices, arrays, vectors, options and tuples of
/// them.
///
/// The first dependency is the fragment's home: it decides on which store node the fragment lives.
#[diagnostic::on_unimplemented(
    message = "a fragment cannot depend on `{Self}`",
    label = "expected a row whose model derives `CacheSweep`, a `RecordKey`, or a slice, array, option or tuple of them"
)]
pub trait Dependencies {
    /// Adds the dependencies to `out`, in a stable order.
    fn collect_into(&self, out: &mut Vec<Dependency>);
}

impl Dependencies for RecordKey {
    fn collect_into(&self, out: &mut Vec<Dependency>) {
        out.push(Dependency { record: self.clone(), row: None });
    }
}

impl Dependencies for Dependency {
    fn collect_into(&self, out: &mut Vec<Dependency>) {
        out.push(self.clone());
    }
}

impl Dependencies for () {
    fn collect_into(&self, _: &mut Vec<Dependency>) {}
}

macro_rules! through {
    ($($(#[$meta:meta])* [$($generics:tt)*] $type:ty => |$this:ident| $items:expr;)*) => {$(
        $(#[$meta])*
        impl<$($generics)*> Dependencies for $type {
            fn collect_into(&self, out: &mut Vec<Dependency>) {
                let $this = self;
                for item in $items {
                    item.collect_into(out);
                }
            }
        }
    )*};
}

through! {
    [D: Dependencies + ?Sized] &D => |this| [*this];
    [D: Dependencies + ?Sized] Box<D> => |this| [&**this];
    [D: Dependencies + ?Sized] Arc<D> => |this| [&**this];
    [D: Dependencies] [D] => |this| this;
    [D: Dependencies, const N: usize] [D; N] => |this| this;
    [D: Dependencies] Vec<D> => |this| this;
    [D: Dependencies] Option<D> => |this| this.as_slice();
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Dependencies),+> Dependencies for ($($name,)+) {
            fn collect_into(&self, out: &mut Vec<Dependency>) {
                $(self.$index.collect_into(out);)+
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
