//! Record keys: composite ones, and of all types.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, RecordKey};
use sea_orm::prelude::Uuid;
use sea_orm::{ActiveModelTrait, ConnectionTrait, IntoActiveModel, Set};

use crate::{create, look, start};

mod text {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "key_text")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub slug: String,
        pub title: String,
    }
}

mod unique {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "key_uuid")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub title: String,
    }
}

mod membership {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "key_membership")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub role: String,
        pub since: i32,
        #[sea_orm(has_many)]
        pub grants: HasMany<super::grant::Entity>,
    }
}

mod grant {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "key_grant")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub user_id: i64,
        pub role: String,
        #[sea_orm(belongs_to, from = "(user_id, role)", to = "(user_id, role)")]
        pub membership: BelongsTo<super::membership::Entity>,
    }
}

mod archived {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(schema_name = "archive", table_name = "key_archived")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub title: String,
        #[sea_orm(has_many)]
        pub pages: HasMany<super::page::Entity>,
    }
}

mod page {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(schema_name = "archive", table_name = "key_page")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub archived_id: i32,
        #[sea_orm(belongs_to, from = "archived_id", to = "id", skip_fk)]
        pub archived: BelongsTo<super::archived::Entity>,
    }
}

#[test]
fn a_key_is_the_table_and_the_id() {
    let text = |slug: &str| text::Model { slug: slug.into(), title: "t".into() };
    assert_eq!(text("first").record_key().to_string(), "key_text:first");
    assert_eq!(text("a:b,c d*").record_key(), RecordKey::new("key_text", "a:b,c d*"));
    assert!(text("*").record_key().is_row());
    assert_eq!(text("first").record_key(), text::Model::key("first"));

    let id = Uuid::from_u128(7);
    let unique = unique::Model { id, title: "t".into() };
    assert_eq!(unique.record_key().to_string(), "key_uuid:00000000-0000-0000-0000-000000000007");
    assert_eq!(unique.record_key(), unique::Model::key(id));
}

#[test]
fn a_composite_key_has_its_parts_in_the_key_s_order() {
    let member = |user_id, role: &str| membership::Model { user_id, role: role.into(), since: 2000 };
    assert_eq!(member(7, "admin").record_key().to_string(), "key_membership:7,admin");
    assert_eq!(member(-7, "a,b").record_key(), RecordKey::composite("key_membership", ["-7", "a,b"]));
    assert_eq!(member(7, "a,b").record_key().id().collect::<Vec<_>>(), ["7", "a,b"]);
    let row = member(7, "admin");
    assert_eq!(row.clone().into_ex().record_key(), row.record_key());
}

#[tokio::test]
async fn saves_sweep_parents_with_composite_keys() {
    let (sweeper, db) = start().await;
    create(&db, membership::Entity).await;
    create(&db, grant::Entity).await;
    let new = |role: &str| membership::ActiveModel { user_id: Set(7), role: Set(role.into()), since: Set(2000) };
    let (admin, author) = (new("admin").insert(&db).await.expect("inserted"), new("author").insert(&db).await.expect("inserted"));
    assert_eq!([look(&sweeper, &admin).await, look(&sweeper, &author).await], ["miss", "miss"]);
    let grant = grant::ActiveModel { user_id: Set(7), role: Set("admin".into()), ..Default::default() };
    grant.insert(&db).await.expect("inserted");
    assert_eq!([look(&sweeper, &admin).await, look(&sweeper, &author).await], ["miss", "hit"]);
}

#[tokio::test]
async fn saves_sweep_rows_with_text_and_uuid_keys() {
    let (sweeper, db) = start().await;
    create(&db, text::Entity).await;
    create(&db, unique::Entity).await;
    let text = text::ActiveModel { slug: Set("a b".into()), title: Set("t".into()) }.insert(&db).await.expect("inserted");
    let unique = unique::ActiveModel { id: Set(Uuid::from_u128(7)), title: Set("t".into()) }.insert(&db).await.expect("inserted");
    let keys = [text.record_key(), unique.record_key()];
    assert_eq!([look(&sweeper, &keys[0]).await, look(&sweeper, &keys[1]).await], ["miss", "miss"]);
    assert_eq!([look(&sweeper, &keys[0]).await, look(&sweeper, &keys[1]).await], ["hit", "hit"]);
    let changed = text::ActiveModel { title: Set("u".into()), ..text.into_active_model() };
    changed.update(&db).await.expect("updated");
    assert_eq!([look(&sweeper, &keys[0]).await, look(&sweeper, &keys[1]).await], ["miss", "hit"]);
    let changed = unique::ActiveModel { title: Set("u".into()), ..unique.into_active_model() };
    changed.update(&db).await.expect("updated");
    assert_eq!([look(&sweeper, &keys[0]).await, look(&sweeper, &keys[1]).await], ["hit", "miss"]);
}

#[tokio::test]
async fn a_schema_is_part_of_the_name() {
    let (sweeper, db) = start().await;
    db.execute_unprepared("ATTACH DATABASE ':memory:' AS archive").await.expect("attached");
    create(&db, archived::Entity).await;
    create(&db, page::Entity).await;
    let row = archived::ActiveModel { title: Set("t".into()), ..Default::default() }.insert(&db).await.expect("inserted");
    assert_eq!(row.record_key().to_string(), format!("archive.key_archived:{}", row.id));
    assert_eq!(sweeper.graph().table("archive.key_page").expect("registered").parents, ["archive.key_archived"]);
    assert_eq!(look(&sweeper, &row).await, "miss");
    assert_eq!(look(&sweeper, &row).await, "hit");
    page::ActiveModel { archived_id: Set(row.id), ..Default::default() }.insert(&db).await.expect("inserted");
    assert_eq!(look(&sweeper, &row).await, "miss");
}
