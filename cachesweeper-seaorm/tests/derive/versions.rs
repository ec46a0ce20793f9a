//! Timestamps as versions, in every type that a column can have.

use cachesweeper_core::face::Face as _;
use cachesweeper_seaorm::{CacheSweep, Strategy};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};

use crate::{create, look, start};

macro_rules! versions {
    ($($name:ident $table:literal $child:literal [$($type:tt)+] $now:expr;)*) => {$(
        mod $name {
            use super::*;

            mod post {
                use cachesweeper_seaorm::CacheSweep;
                use sea_orm::entity::prelude::*;

                #[sea_orm::model]
                #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
                #[sea_orm(table_name = $table)]
                #[sweep(using = "updated_at")]
                pub struct Model {
                    #[sea_orm(primary_key)]
                    pub id: i32,
                    pub title: String,
                    pub updated_at: $($type)+,
                    #[sea_orm(has_many)]
                    pub notes: HasMany<super::note::Entity>,
                }
            }

            mod note {
                use cachesweeper_seaorm::CacheSweep;
                use sea_orm::entity::prelude::*;

                #[sea_orm::model]
                #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
                #[sea_orm(table_name = $child)]
                pub struct Model {
                    #[sea_orm(primary_key)]
                    pub id: i32,
                    pub post_id: i32,
                    #[sea_orm(belongs_to, from = "post_id", to = "id")]
                    pub post: BelongsTo<super::post::Entity>,
                }
            }

            #[tokio::test]
            async fn rises_with_every_save_and_touch() {
                let (sweeper, db) = start().await;
                create(&db, post::Entity).await;
                create(&db, note::Entity).await;
                let load = async |id| post::Entity::find_by_id(id).one(&db).await.expect("selected").expect("there");
                assert_eq!(sweeper.graph().table($table).expect("registered").strategy, Strategy::UpdatedAt);

                let began = sweeper.now();
                let new = post::ActiveModel { title: Set("a".into()), ..Default::default() };
                let post = new.insert(&db).await.expect("inserted");
                assert!(post.updated_at() >= Some(began) && post.updated_at() <= Some(sweeper.now()), "{post:?}");
                assert_eq!(load(post.id).await, post, "the database keeps what was stamped");
                assert_eq!(post.clone().into_ex().updated_at(), post.updated_at());

                let changed = post::ActiveModel { title: Set("b".into()), ..post.clone().into_active_model() };
                let changed = changed.update(&db).await.expect("updated");
                assert!(changed.updated_at() > post.updated_at());
                assert_eq!(load(post.id).await, changed);

                note::ActiveModel { post_id: Set(post.id), ..Default::default() }.insert(&db).await.expect("inserted");
                let touched = load(post.id).await;
                assert!(touched.updated_at() > changed.updated_at());
                assert_eq!(touched.title, "b");
                assert_ne!(touched.row_digest(), changed.row_digest());

                // Imported rows keep their own time; a fragment of one can be stored at once, as it is old.
                let old = post::ActiveModel { title: Set("c".into()), updated_at: Set($now), ..Default::default() };
                let old = old.insert(&db).await.expect("inserted");
                assert_eq!((look(&sweeper, &old).await, look(&sweeper, &old).await), ("miss", "hit"));
                assert_eq!(look(&sweeper, &touched).await, "miss");
            }
        }
    )*};
}

/// The year 2001, as any of the types.
fn then<T: cachesweeper_core::digest::TimestampColumn>() -> T {
    T::from_micros(cachesweeper_core::Micros(1_000_000_000_000_000)).expect("in range")
}

versions! {
    chrono_naive "version_naive" "version_naive_note" [DateTime] then();
    chrono_utc "version_utc" "version_utc_note" [DateTimeUtc] then();
    chrono_zoned "version_zoned" "version_zoned_note" [DateTimeWithTimeZone] then();
    chrono_local "version_local" "version_local_note" [DateTimeLocal] then();
    chrono_path "version_path" "version_path_note" [sea_orm::prelude::ChronoDateTimeUtc] then();
    chrono_option "version_option" "version_option_note" [Option<DateTimeUtc>] then();
    time_primitive "version_primitive" "version_primitive_note" [TimeDateTime] then();
    time_offset "version_offset" "version_offset_note" [TimeDateTimeWithTimeZone] then();
    time_option "version_time_option" "version_time_option_note" [Option<TimeDateTime>] then();
}

mod nullable {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "version_nullable")]
    #[sweep(using = "updated_at")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub title: String,
        pub updated_at: Option<DateTimeUtc>,
    }
}

#[tokio::test]
async fn a_row_without_a_version_gets_one_when_it_is_saved() {
    let (_, db) = start().await;
    create(&db, nullable::Entity).await;
    let row = nullable::ActiveModel { title: Set("a".into()), updated_at: Set(None), ..Default::default() };
    let row = row.insert(&db).await.expect("inserted");
    let first = row.updated_at();
    assert!(first.is_some(), "a row that is written has a version");
    let row = nullable::ActiveModel { title: Set("b".into()), ..row.into_active_model() }.update(&db).await.expect("updated");
    assert!(row.updated_at() > first);
}
