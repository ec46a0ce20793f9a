//! A fragment depends on rows whose model derives `CacheSweep`.

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

fn main() {
    let sweeper = cachesweeper_seaorm::Sweeper::builder().memory(64 << 20).build().unwrap();
    let row = note::Model { id: 1 };
    sweeper.fragment(&row, "note.html");
}
