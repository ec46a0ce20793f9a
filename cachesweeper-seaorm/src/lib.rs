//! Fragment caching that is never stale, for SeaORM.
//!
//! Derive [`CacheSweep`] on your models, wrap the connection once, and write as always: every cached fragment that shows a row,
//! or a parent of the row, is gone the moment the write commits.
//!
//! ```
//! use cachesweeper_seaorm::{CacheSweep, SweepConnection, Sweeper};
//! use sea_orm::{ActiveModelTrait, ConnectionTrait, Database, Schema, Set, entity::prelude::*};
//!
//! mod note {
//!     use cachesweeper_seaorm::CacheSweep;
//!     use sea_orm::entity::prelude::*;
//!
//!     #[sea_orm::model]
//!     #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
//!     #[sea_orm(table_name = "note")]
//!     pub struct Model {
//!         #[sea_orm(primary_key)]
//!         pub id: i32,
//!         pub text: String,
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sweeper = Sweeper::builder().memory(64 << 20).build()?;
//! let db = SweepConnection::new(Database::connect("sqlite::memory:").await?, sweeper.clone());
//! db.execute(&Schema::new(db.get_database_backend()).create_table_from_entity(note::Entity)).await?;
//!
//! let note = note::ActiveModel { text: Set("first".into()), ..Default::default() }.insert(&db).await?;
//! let page = async |note: &note::Model| {
//!     let text = note.text.clone();
//!     sweeper.fragment(note, "note.html").get_or_render(async move || Ok::<_, DbErr>(format!("<p>{text}</p>"))).await
//! };
//! assert_eq!(page(&note).await?, "<p>first</p>");                    // rendered, and stored
//! assert_eq!(page(&note).await?.outcome().word(), "hit");
//!
//! let mut note: note::ActiveModel = note.into();
//! note.text = Set("second".into());
//! let note = note.update(&db).await?;                                // swept
//! assert_eq!(page(&note).await?, "<p>second</p>");
//! # Ok(())
//! # }
//! ```

mod bulk;
mod climb;
mod commit;
mod connection;
mod describe;
pub mod hooks;
mod in_flight;
mod recognise;
mod row;
mod touch;
mod transaction;
mod value;

pub use bulk::{ExecAndSweep, insert_many_and_sweep};
#[cfg(feature = "minijinja")]
pub use cachesweeper_core::template;
pub use cachesweeper_core::{
    Builder, CacheSweep, Collection, Config, Dependencies, Dependency, Error, Fragment, Fragments, InvalidTtl, KeyLookup, Outcome, Page,
    Policy, Prefetch, Reason, RecordKey, Rendered, Stats, Strategy, Sweeper, blocking, registry, store,
};
/// Makes a SeaORM model's rows usable in fragments, and its saves invalidate them.
///
/// Derive it beside `DeriveEntityModel`, in any of SeaORM's entity formats. It writes the model's `ActiveModelBehavior`.
///
/// On the model, `#[sweep(…)]` takes:
///
/// * `using = "updated_at"`: the version is this timestamp column of the row itself (chrono's or time's types). Without it, a
///   counter in the store.
/// * `parents(Article, …)`: only these relations are swept, by their names in `Relation`; `parents()`: none. Without it, every
///   `belongs_to` relation whose target derives `CacheSweep` too.
/// * `collection`: a version of the whole table is kept, for fragments that list it: `Model::collection()`.
/// * `max_depth = 32`: how many levels a tree of this entity may have (64 without it).
/// * `hooks = "manual"`: you write the `ActiveModelBehavior` and call [`hooks`].
///
/// On a field, `#[sweep(skip)]` leaves the column out: a save of skipped columns alone sweeps nothing, and a fragment that shows
/// them goes stale by design.
pub use cachesweeper_derive::SeaOrmCacheSweep as CacheSweep;
pub use connection::SweepConnection;
pub use transaction::SweepTransaction;

/// What the derive's code names. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use async_trait;
    pub use cachesweeper_core::digest::{RowDigest, TimestampColumn};
    pub use cachesweeper_core::registry::{Entity, Registered, inventory};
    pub use cachesweeper_core::{CacheSweep, Collection, Dependencies, Dependency, KeyLookup, Micros, RecordKey, Row};
    pub use sea_orm;

    pub use crate::describe::{Declared, StrategyColumn, SweepColumn, SweepEntity, VersionedEntity, describe, version};
    pub use crate::hooks;
    pub use crate::value::{Column, DigestByColumn, DigestByValue, key_of_model, key_of_values};
}
