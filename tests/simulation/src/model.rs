//! The entities of the simulated application: sections have articles, articles have comments.

use std::fmt;
use std::sync::LazyLock;

use cachesweeper_core::climb::{Parent, Seed, Table};
use cachesweeper_core::digest::RowDigest;
use cachesweeper_core::registry::{Entity, EntityInfo, Graph, ParentLink};
use cachesweeper_core::{CacheSweep, Dependencies, Dependency, Micros, RecordKey, Row, Strategy};

/// A row's primary key.
pub type Id = u32;

/// An entity. Their order is that of the relations: children first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Belongs to an article.
    Comment,
    /// Belongs to a section.
    Article,
    /// Belongs to nothing.
    Section,
}

/// Names a row.
pub type Key = (Kind, Id);

impl Kind {
    /// The table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Article => "article",
            Self::Section => "section",
        }
    }

    /// The parents' entity.
    pub fn parent(self) -> Option<Self> {
        match self {
            Self::Comment => Some(Self::Article),
            Self::Article => Some(Self::Section),
            Self::Section => None,
        }
    }

    /// The children's entity.
    pub fn child(self) -> Option<Self> {
        match self {
            Self::Comment => None,
            Self::Article => Some(Self::Comment),
            Self::Section => Some(Self::Article),
        }
    }

    /// The record of a row.
    pub fn record(self, id: Id) -> RecordKey {
        RecordKey::new(self.name(), id)
    }

    /// The entity, by its table's name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Comment, Self::Article, Self::Section].into_iter().find(|kind| kind.name() == name)
    }
}

/// What a fragment shows of the database, and what writes change: each has a version that only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fact {
    /// A row's own columns.
    Own(Kind, Id),
    /// Which children a row has.
    Children(Kind, Id),
    /// Which comments there are.
    AllComments,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(kind, id) => write!(f, "{}:{id}", kind.name()),
            Self::Children(kind, id) => write!(f, "{}:{id}/children", kind.name()),
            Self::AllComments => f.write_str("comment:*"),
        }
    }
}

impl Fact {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "comment:*" {
            return Some(Self::AllComments);
        }
        let (kind, id) = text.split_once(':')?;
        let kind = Kind::named(kind)?;
        match id.strip_suffix("/children") {
            Some(id) => Some(Self::Children(kind, id.parse().ok()?)),
            None => Some(Self::Own(kind, id.parse().ok()?)),
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// Counts changes of its own columns.
    pub version: u64,
    /// Its parent, if its entity has one.
    pub parent: Option<Id>,
    /// Whether it has been deleted.
    pub deleted: bool,
    /// Its timestamp column; zero for entities without one.
    pub updated_at: u64,
}

impl CacheSweep for Record {
    fn entity() -> &'static Entity {
        // Rows of all entities are of one type; the graph knows the entities by the record's name.
        &COMMENT
    }

    fn record_key(&self) -> RecordKey {
        self.key.0.record(self.key.1)
    }

    fn row_digest(&self) -> u128 {
        let mut row = RowDigest::new();
        let columns = [self.version, self.parent.map_or(0, u64::from), u64::from(self.deleted), self.updated_at];
        for column in columns {
            row.bytes(&column.to_le_bytes());
        }
        row.finish()
    }

    fn updated_at(&self) -> Option<Micros> {
        (self.updated_at > 0).then_some(Micros(self.updated_at))
    }
}

impl Dependencies for Record {
    fn collect_into(&self, out: &mut Vec<Dependency>) {
        out.push(Row::dependency(self));
    }
}

/// The adapter's part of an entity.
#[derive(Debug)]
pub struct SimTable {
    /// Which.
    pub kind: Kind,
    parents: Vec<Parent>,
}

impl Table for SimTable {
    type Value = Id;

    fn parents(&self) -> &[Parent] {
        &self.parents
    }

    fn is_primary_key(&self, columns: &[String]) -> bool {
        columns == ["id"]
    }

    fn is_exact(&self, _: &[String], _: &[Id]) -> bool {
        true
    }

    fn record(entity: &str, values: &[Id]) -> RecordKey {
        RecordKey::composite(entity, values.iter().map(ToString::to_string))
    }
}

fn table(kind: Kind) -> SimTable {
    let parent = kind.parent().map(|parent| Parent { entity: parent.name().into(), from: vec![1], to: vec!["id".into()] });
    SimTable { kind, parents: parent.into_iter().collect() }
}

static COMMENTS: LazyLock<SimTable> = LazyLock::new(|| table(Kind::Comment));
static ARTICLES: LazyLock<SimTable> = LazyLock::new(|| table(Kind::Article));
static SECTIONS: LazyLock<SimTable> = LazyLock::new(|| table(Kind::Section));

fn info(kind: Kind, strategy: Strategy, adapter: &'static SimTable) -> EntityInfo {
    let parent = kind.parent().map(|parent| ParentLink {
        entity: parent.name().into(),
        columns: vec![format!("{}_id", parent.name())],
        listed: false,
    });
    EntityInfo {
        name: kind.name().into(),
        orm: "Simulation",
        model: kind.name(),
        strategy,
        collection: kind == Kind::Comment,
        max_depth: None,
        parents: parent.into_iter().collect(),
        skipped: Vec::new(),
        problems: Vec::new(),
        adapter: Some(adapter),
    }
}

static COMMENT: Entity = Entity::new(|| info(Kind::Comment, Strategy::Counter, &COMMENTS));
static ARTICLE: Entity = Entity::new(|| info(Kind::Article, Strategy::Counter, &ARTICLES));
static STAMPED_ARTICLE: Entity = Entity::new(|| info(Kind::Article, Strategy::UpdatedAt, &ARTICLES));
static SECTION: Entity = Entity::new(|| info(Kind::Section, Strategy::Counter, &SECTIONS));

/// The entity of a kind; articles may be versioned by a timestamp.
pub fn entity(kind: Kind, stamped: bool) -> &'static Entity {
    match kind {
        Kind::Comment => &COMMENT,
        Kind::Article if stamped => &STAMPED_ARTICLE,
        Kind::Article => &ARTICLE,
        Kind::Section => &SECTION,
    }
}

/// The graph of all three.
///
/// # Panics
///
/// Never: the entities fit together.
pub fn graph(stamped: bool) -> Graph {
    let kinds = [Kind::Comment, Kind::Article, Kind::Section];
    Graph::new(kinds.map(|kind| entity(kind, stamped))).expect("the three entities fit together")
}

/// A row that is written, as the climb begins with it.
pub fn seed(row: &Record, stamped: bool, keyed: bool) -> Seed<Id> {
    let (kind, id) = row.key;
    let parents = row.parent.map(|parent| (0, vec![parent])).into_iter().collect();
    Seed { entity: entity(kind, stamped), key: keyed.then(|| kind.record(id)), parents }
}
