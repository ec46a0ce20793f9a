//! The dense format: one struct, relations included.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, Collection, KeyLookup, Sweeper};

mod article {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "article")]
    #[sweep(collection, max_depth = 32)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sea_orm(has_many)]
        pub comments: HasMany<super::comment::Entity>,
    }
}

mod comment {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "comment")]
    #[sweep(using = "updated_at", parents(Article))]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub article_id: i32,
        #[sea_orm(belongs_to, from = "article_id", to = "id")]
        pub article: BelongsTo<super::article::Entity>,
        #[sweep(skip)]
        pub views: i64,
        pub updated_at: DateTimeUtc,
    }
}

fn main() {
    let sweeper = Sweeper::builder().memory(64 << 20).build().unwrap();
    assert_eq!(sweeper.graph().table("comment").unwrap().parents, ["article"]);
    assert_eq!(article::Model { id: 7 }.record_key(), article::Model::key(7));
    assert_eq!(article::Model::collection().to_string(), "article:*");
    assert_eq!(comment::Model::entity().name(), "comment");
    assert_eq!(comment::ModelEx::entity(), comment::Model::entity());
}
