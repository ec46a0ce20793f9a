//! The expanded format: every part by hand.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, KeyLookup, Sweeper};

mod article {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

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

    #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
    pub struct Entity;

    impl EntityName for Entity {
        fn table_name(&self) -> &'static str {
            "comment"
        }
    }

    #[derive(Clone, Debug, PartialEq, DeriveModel, DeriveActiveModel, CacheSweep)]
    #[sweep(parents(Article))]
    pub struct Model {
        pub id: i32,
        pub article_id: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
    pub enum Column {
        Id,
        ArticleId,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DerivePrimaryKey)]
    pub enum PrimaryKey {
        Id,
    }

    impl PrimaryKeyTrait for PrimaryKey {
        type ValueType = i32;

        fn auto_increment() -> bool {
            true
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter)]
    pub enum Relation {
        Article,
    }

    impl ColumnTrait for Column {
        type EntityName = Entity;

        fn def(&self) -> ColumnDef {
            ColumnType::Integer.def()
        }
    }

    impl RelationTrait for Relation {
        fn def(&self) -> RelationDef {
            let article = Entity::belongs_to(super::article::Entity);
            article.from(Column::ArticleId).to(super::article::Column::Id).into()
        }
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
