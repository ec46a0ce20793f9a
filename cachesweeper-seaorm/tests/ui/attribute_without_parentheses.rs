//! A bare `#[sweep]` says nothing.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sweep = "skip"]
        pub views: i32,
    }
}

fn main() {}
