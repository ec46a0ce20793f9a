//! Columns with names of their own.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, Strategy};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};

use crate::{create, look, start};

mod thread {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "named thread", rename_all = "camelCase")]
    #[sweep(using = "changed at")]
    pub struct Model {
        #[sea_orm(primary_key, column_name = "thread no", enum_name = "Number")]
        pub id: i32,
        pub long_title: String,
        #[sea_orm(column_name = "changed at")]
        pub updated_at: DateTimeUtc,
        #[sea_orm(has_many)]
        pub posts: HasMany<super::post::Entity>,
    }
}

mod post {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "named post")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub r#type: String,
        #[sea_orm(column_name = "match")]
        pub r#ref: String,
        #[sea_orm(enum_name = "Thread", column_name = "thread")]
        pub r#in: Option<i32>,
        #[sea_orm(belongs_to, from = "Thread", to = "Number")]
        pub thread: BelongsTo<Option<super::thread::Entity>>,
        #[sea_orm(enum_name = "Seen", column_name = "SEEN")]
        #[sweep(skip)]
        pub views: i32,
        #[sea_orm(ignore)]
        pub computed: String,
    }
}

#[tokio::test]
async fn renamed_columns_and_raw_identifiers_are_found() {
    let (sweeper, db) = start().await;
    create(&db, thread::Entity).await;
    create(&db, post::Entity).await;
    assert_eq!(sweeper.graph().table("named thread").expect("registered").strategy, Strategy::UpdatedAt);
    let thread = thread::ActiveModel { long_title: Set("t".into()), ..Default::default() }.insert(&db).await.expect("inserted");
    assert_eq!(thread.record_key().to_string(), format!("named%20thread:{}", thread.id));
    let stamp = async |id| thread::Entity::find_by_id(id).one(&db).await.expect("selected").expect("there").updated_at();
    let before = stamp(thread.id).await;
    assert_eq!(before, thread.updated_at());

    let new = post::ActiveModel { r#type: Set("a".into()), r#ref: Set("b".into()), r#in: Set(None), views: Set(0), ..Default::default() };
    let post = new.insert(&db).await.expect("inserted");
    assert_eq!(stamp(thread.id).await, before, "a post without a thread touches none");
    assert_eq!(look(&sweeper, post.record_key()).await, "miss");

    let seen = post::ActiveModel { views: Set(1), ..post.clone().into_active_model() }.update(&db).await.expect("updated");
    assert_eq!((stamp(thread.id).await, look(&sweeper, post.record_key()).await), (before, "hit"));
    assert_eq!(seen.row_digest(), post.row_digest());

    let moved = post::ActiveModel { r#in: Set(Some(thread.id)), ..seen.into_active_model() }.update(&db).await.expect("updated");
    let touched = stamp(thread.id).await;
    assert!(touched > before, "{touched:?} > {before:?}");
    assert_eq!(look(&sweeper, post.record_key()).await, "miss");

    let renamed = post::ActiveModel { r#type: Set("c".into()), ..moved.clone().into_active_model() }.update(&db).await.expect("updated");
    assert!(stamp(thread.id).await > touched);
    assert_ne!(renamed.row_digest(), moved.row_digest());
}

#[test]
fn an_ignored_field_is_no_part_of_the_row() {
    let row =
        |computed: &str| post::Model { id: 1, r#type: "a".into(), r#ref: "b".into(), r#in: None, views: 0, computed: computed.into() };
    assert_eq!(row("x").row_digest(), row("y").row_digest());
}
