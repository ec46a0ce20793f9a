//! Which relations are swept.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::CacheSweep;
use sea_orm::{ActiveModelTrait, Set};

use crate::{create, look, start};

mod user {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "parents_user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
    }
}

mod place {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "parents_place")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

macro_rules! texts {
    ($($name:ident $table:literal $(#[$sweep:meta])* $([$skip:meta])?;)*) => {$(
        mod $name {
            use cachesweeper_seaorm::CacheSweep;
            use sea_orm::entity::prelude::*;

            #[sea_orm::model]
            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
            #[sea_orm(table_name = $table)]
            $(#[$sweep])*
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: i32,
                pub author_id: i32,
                #[sea_orm(belongs_to, from = "author_id", to = "id", relation_enum = "Author")]
                pub author: BelongsTo<super::user::Entity>,
                $(#[$skip])?
                pub editor_id: Option<i32>,
                #[sea_orm(belongs_to, from = "editor_id", to = "id", relation_enum = "Editor")]
                pub editor: BelongsTo<Option<super::user::Entity>>,
                pub place_id: Option<i32>,
                #[sea_orm(belongs_to, from = "place_id", to = "id")]
                pub place: BelongsTo<Option<super::place::Entity>>,
            }
        }
    )*};
}

texts! {
    all "parents_all";
    narrowed "parents_narrowed" #[sweep(parents(Author))] [sweep(skip)];
    none "parents_none" #[sweep(parents())];
}

macro_rules! sweeps {
    ($($name:ident [$author:literal, $editor:literal] $parents:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (sweeper, db) = start().await;
            create(&db, user::Entity).await;
            create(&db, place::Entity).await;
            create(&db, self::$name::Entity).await;
            let user = async |name: &str| {
                let user = user::ActiveModel { name: Set(name.into()), ..Default::default() }.insert(&db).await.expect("inserted");
                assert_eq!(look(&sweeper, &user).await, "miss");
                user
            };
            let (author, editor, other) = (user("author").await, user("editor").await, user("other").await);
            let text = self::$name::ActiveModel { author_id: Set(author.id), editor_id: Set(Some(editor.id)), ..Default::default() };
            let text = text.insert(&db).await.expect("inserted");
            let after = [look(&sweeper, &author).await, look(&sweeper, &editor).await, look(&sweeper, &other).await];
            assert_eq!(after, [$author, $editor, "hit"]);
            let parents: [&str; _] = $parents;
            assert_eq!(sweeper.graph().table(self::$name::Model::entity().name()).expect("registered").parents, parents);
            assert_eq!(text.record_key(), text.into_ex().record_key());
        }
    )*};
}

sweeps! {
    all ["miss", "miss"] ["parents_user"];
    narrowed ["miss", "hit"] ["parents_user"];
    none ["hit", "hit"] [];
}
