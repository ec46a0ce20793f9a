//! The column named by `using` is a timestamp.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(using = "version")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub version: i64,
    }
}

fn main() {}
