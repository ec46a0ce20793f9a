//! The compact format with `#[sea_orm::compact_model]`, which adds fields for loaded relations.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, KeyLookup, Sweeper};

mod article {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::compact_model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "article")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::comment::Entity")]
        Comment,
    }

    impl Related<super::comment::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Comment.def()
        }
    }
}

mod comment {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::compact_model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "comment")]
    #[sweep(parents(Article))]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub article_id: i32,
        pub article: BelongsTo<super::article::Entity>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::article::Entity", from = "Column::ArticleId", to = "super::article::Column::Id")]
        Article,
    }

    impl Related<super::article::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Article.def()
        }
    }
}

fn main() {
    let sweeper = Sweeper::builder().memory(64 << 20).build().unwrap();
    assert_eq!(sweeper.graph().table("comment").unwrap().parents, ["article"]);
    assert_eq!(comment::Model { id: 7, article_id: 1 }.record_key(), comment::Model::key(7));
}
