//! An attribute is given once, also across several `#[sweep(…)]`.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(using = "updated_at", collection)]
    #[sweep(collection, using = "created_at")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        #[sweep(skip)]
        #[sweep(skip)]
        pub views: i32,
    }
}

fn main() {}
