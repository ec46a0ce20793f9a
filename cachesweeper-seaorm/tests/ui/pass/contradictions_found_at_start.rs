//! In the compact format the derive cannot see the relations: what contradicts them is found when the first sweeper is built.

use cachesweeper_seaorm::CacheSweep;

mod article {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "article")]
    #[sweep(parents(Comment))]
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

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "comment")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sweep(skip)]
        pub article_id: i32,
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

fn problem_of(entity: &'static cachesweeper_seaorm::registry::Entity) -> String {
    cachesweeper_seaorm::registry::Graph::new([entity]).expect_err("refused").to_string().replace(module_path!(), "app")
}

fn main() {
    assert_eq!(
        problem_of(comment::Model::entity()),
        "the model `app::comment::Model`: `article_id` names the parent `article`, so it cannot be skipped: take #[sweep(skip)] off it. If \
         `article` is not to be swept, leave it out: #[sweep(parents(…))]"
    );
    assert_eq!(
        problem_of(article::Model::entity()),
        "the model `app::article::Model`: #[sweep(parents(…))] lists the relation to `comment`, which is no belongs_to relation, so `comment` \
         is no parent"
    );
}
