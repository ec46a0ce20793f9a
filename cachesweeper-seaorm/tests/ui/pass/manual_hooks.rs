//! Hooks of one's own, which call ours.

use cachesweeper_seaorm::{CacheSweep, KeyLookup};

mod note {
    use cachesweeper_seaorm::{CacheSweep, hooks};
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(hooks = "manual")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
    }

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(self, db: &C, insert: bool) -> Result<Self, DbErr> {
            hooks::before_save(self, db, insert).await
        }

        async fn after_save<C: ConnectionTrait>(model: Model, db: &C, insert: bool) -> Result<Model, DbErr> {
            hooks::after_save(model, db, insert).await
        }

        async fn before_delete<C: ConnectionTrait>(self, db: &C) -> Result<Self, DbErr> {
            hooks::before_delete(self, db).await
        }

        async fn after_delete<C: ConnectionTrait>(self, db: &C) -> Result<Self, DbErr> {
            hooks::after_delete(self, db).await
        }
    }
}

fn main() {
    assert_eq!(note::Model { id: 7 }.record_key(), note::Model::key(7));
}
