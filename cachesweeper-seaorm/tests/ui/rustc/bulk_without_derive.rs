//! A bulk write sweeps entities whose model derives `CacheSweep`.

mod note {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

use cachesweeper_seaorm::{ExecAndSweep, SweepConnection};
use sea_orm::EntityTrait;

async fn write(db: &SweepConnection) {
    let _ = note::Entity::delete_many().exec_and_sweep(db).await;
}

fn main() {}
