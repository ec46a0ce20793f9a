//! Saves sweep, in all formats of entities.

use cachesweeper_seaorm::CacheSweep;
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, ModelTrait, Set};

use crate::{create, look, start};

mod dense {
    pub mod article {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "dense_article")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i32,
            pub title: String,
            #[sea_orm(has_many)]
            pub comments: HasMany<super::comment::Entity>,
        }
    }

    pub mod comment {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "dense_comment")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i32,
            pub article_id: i32,
            #[sea_orm(belongs_to, from = "article_id", to = "id")]
            pub article: BelongsTo<super::article::Entity>,
            pub text: String,
            #[sweep(skip)]
            pub views: i32,
        }
    }
}

mod compact {
    pub mod article {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "compact_article")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i32,
            pub title: String,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {
            #[sea_orm(has_many = "super::comment::Entity")]
            Comment,
        }
    }

    pub mod comment {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
        #[sea_orm(table_name = "compact_comment")]
        pub struct Model {
            #[sea_orm(primary_key)]
            pub id: i32,
            pub article_id: i32,
            pub text: String,
            #[sweep(skip)]
            pub views: i32,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {
            #[sea_orm(belongs_to = "super::article::Entity", from = "Column::ArticleId", to = "super::article::Column::Id")]
            Article,
        }

        // As our `has_many` above asks for.
        impl Related<super::article::Entity> for Entity {
            fn to() -> RelationDef {
                Relation::Article.def()
            }
        }
    }
}

mod expanded {
    pub mod article {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
        pub struct Entity;

        impl EntityName for Entity {
            fn table_name(&self) -> &'static str {
                "expanded_article"
            }
        }

        #[derive(Clone, Debug, PartialEq, Eq, DeriveModel, DeriveActiveModel, CacheSweep)]
        pub struct Model {
            pub id: i32,
            pub title: String,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
        pub enum Column {
            Id,
            Title,
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

        #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
        pub enum Relation {}

        impl ColumnTrait for Column {
            type EntityName = Entity;

            fn def(&self) -> ColumnDef {
                match self {
                    Self::Id => ColumnType::Integer.def(),
                    Self::Title => ColumnType::Text.def(),
                }
            }
        }
    }

    pub mod comment {
        use cachesweeper_seaorm::CacheSweep;
        use sea_orm::entity::prelude::*;

        #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
        pub struct Entity;

        impl EntityName for Entity {
            fn table_name(&self) -> &'static str {
                "expanded_comment"
            }
        }

        #[derive(Clone, Debug, PartialEq, Eq, DeriveModel, DeriveActiveModel, CacheSweep)]
        pub struct Model {
            pub id: i32,
            pub article_id: i32,
            pub text: String,
            #[sweep(skip)]
            pub views: i32,
        }

        #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
        pub enum Column {
            Id,
            ArticleId,
            Text,
            Views,
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
                match self {
                    Self::Id | Self::ArticleId | Self::Views => ColumnType::Integer.def(),
                    Self::Text => ColumnType::Text.def(),
                }
            }
        }

        impl RelationTrait for Relation {
            fn def(&self) -> RelationDef {
                Entity::belongs_to(super::article::Entity).from(Column::ArticleId).to(super::article::Column::Id).into()
            }
        }
    }
}

macro_rules! saves_sweep {
    ($($format:ident)*) => {$(
        #[tokio::test]
        async fn $format() {
            use $format::{article, comment};

            let (sweeper, db) = start().await;
            create(&db, article::Entity).await;
            create(&db, comment::Entity).await;
            let first = article::ActiveModel { title: Set("first".into()), ..Default::default() }.insert(&db).await.expect("inserted");
            let other = article::ActiveModel { title: Set("other".into()), ..Default::default() }.insert(&db).await.expect("inserted");
            let new = comment::ActiveModel { article_id: Set(first.id), text: Set("a".into()), views: Set(0), ..Default::default() };
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["miss", "miss"]);
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["hit", "hit"]);

            let comment = new.insert(&db).await.expect("inserted");
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["miss", "hit"], "insert");
            assert_eq!(look(&sweeper, &comment).await, "miss");

            let changed = comment::ActiveModel { text: Set("b".into()), ..comment.clone().into_active_model() };
            let changed = changed.update(&db).await.expect("updated");
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["miss", "hit"], "update");
            assert_eq!([look(&sweeper, &changed).await, look(&sweeper, comment.record_key()).await], ["miss", "miss"]);

            let seen = comment::ActiveModel { views: Set(1), ..changed.clone().into_active_model() };
            let seen = seen.update(&db).await.expect("updated");
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &seen).await], ["hit", "hit"], "a skipped column");

            let moved = comment::ActiveModel { article_id: Set(other.id), ..seen.into_active_model() };
            let moved = moved.update(&db).await.expect("updated");
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["miss", "miss"], "move");

            moved.delete(&db).await.expect("deleted");
            assert_eq!([look(&sweeper, &first).await, look(&sweeper, &other).await], ["hit", "miss"], "delete");

            let table = concat!(stringify!($format), "_article");
            assert_eq!(first.record_key().to_string(), format!("{table}:{}", first.id));
            assert_eq!(first.record_key(), article::Model::key(first.id));
            let loaded = article::Entity::find_by_id(first.id).one(&db).await.expect("selected").expect("there");
            assert_eq!(loaded.row_digest(), first.row_digest());
        }
    )*};
}

saves_sweep!(dense compact expanded);

#[test]
fn both_structs_of_the_dense_format_are_the_same_record() {
    let row = dense::comment::Model { id: 7, article_id: 1, text: "a".into(), views: 3 };
    let ex = row.clone().into_ex();
    assert_eq!((ex.record_key(), ex.row_digest(), ex.updated_at()), (row.record_key(), row.row_digest(), row.updated_at()));
}
