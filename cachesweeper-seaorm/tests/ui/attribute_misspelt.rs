//! Misspelt attributes are all reported, with what was meant, and read as meant: nothing else is reported.

mod note {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "note")]
    #[sweep(usin = "updated_at", parent(), colection)]
    #[sweep(hook = "manual")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub updated_at: DateTimeUtc,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

fn main() {
    use cachesweeper_seaorm::CacheSweep;

    note::Model::collection();
}
