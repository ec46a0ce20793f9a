//! Entities and graphs that no ORM has derived.

use std::cell::RefCell;

use cachesweeper_core::Strategy;
use cachesweeper_core::registry::{Entity, EntityInfo, Graph, GraphError, ParentLink};

/// An article, of the counter strategy.
pub static ARTICLE: Entity = Entity::new(|| info("article", Strategy::Counter, &[]));
/// A comment on an article, of the counter strategy.
pub static COMMENT: Entity = Entity::new(|| info("comment", Strategy::Counter, &["article"]));
/// A note, whose version is its column `updated_at`.
pub static NOTE: Entity = Entity::new(|| info("note", Strategy::UpdatedAt, &[]));
/// A vote on a comment, of the counter strategy.
pub static VOTE: Entity = Entity::new(|| info("vote", Strategy::Counter, &["comment"]));

/// What is known of an entity with these parents.
pub fn info(name: &str, strategy: Strategy, parents: &[&str]) -> EntityInfo {
    let link = |parent: &&str| ParentLink { entity: (*parent).to_owned(), columns: vec![format!("{parent}_id")], listed: true };
    EntityInfo {
        name: name.to_owned(),
        orm: "bench",
        model: "bench::Model",
        strategy,
        collection: false,
        max_depth: None,
        parents: parents.iter().map(link).collect(),
        skipped: Vec::new(),
        problems: Vec::new(),
        adapter: None,
    }
}

/// The graph of the four entities here.
///
/// # Errors
///
/// None, as long as they fit together.
pub fn graph() -> Result<Graph, GraphError> {
    Graph::new([&ARTICLE, &COMMENT, &NOTE, &VOTE])
}

thread_local! {
    static NEXT: RefCell<Option<EntityInfo>> = const { RefCell::new(None) };
}

/// An entity that is made at run time. It stays for as long as the program, like those that derives make.
///
/// # Panics
///
/// Never: a description is only asked for here.
pub fn made(info: EntityInfo) -> &'static Entity {
    // An entity is described by a function, which cannot carry anything along.
    NEXT.set(Some(info));
    let entity: &'static Entity = Box::leak(Box::new(Entity::new(|| NEXT.take().expect("it was put there for this entity"))));
    entity.info();
    entity
}
