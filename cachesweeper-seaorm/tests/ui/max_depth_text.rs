//! `max_depth` is a number.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(max_depth = "32")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
    }
}

fn main() {}
