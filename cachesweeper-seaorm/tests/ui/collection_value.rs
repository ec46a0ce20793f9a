//! `collection` takes no value.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(collection = true)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sweep(skip = true)]
        pub views: i32,
    }
}

fn main() {
    use cachesweeper_seaorm::CacheSweep;

    note::Model::collection();
}
