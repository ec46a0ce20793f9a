//! Versions with a zone: PostgreSQL's `timestamptz`, and what SeaORM writes for it elsewhere.

use cachesweeper_tests::{Backend, behaviours_of};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};

mod instant {
    #![allow(missing_docs, unreachable_pub, reason = "SeaORM's macros write items without")]
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "instant")]
    #[sweep(using = "changed_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub body: String,
        pub changed_at: DateTimeUtc,
    }
}

mod below {
    #![allow(missing_docs, unreachable_pub, reason = "SeaORM's macros write items without")]
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "below_instant")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub instant_id: i64,
        #[sea_orm(belongs_to, from = "instant_id", to = "id")]
        pub instant: BelongsTo<super::instant::Entity>,
    }
}

behaviours_of! { SeaOrm;
    async fn a_version_with_a_zone_rises_with_every_write(site: &Site) {
        let (time, text) = match site.backend {
            Backend::Sqlite => ("TEXT", "TEXT"),
            Backend::Postgres => ("TIMESTAMPTZ", "TEXT"),
            Backend::MySql => ("DATETIME(6)", "VARCHAR(100)"),
        };
        site.database.run(&format!(
            "CREATE TABLE instant (id BIGINT PRIMARY KEY, body {text} NOT NULL, changed_at {time} NOT NULL);
             CREATE TABLE below_instant (id BIGINT PRIMARY KEY, instant_id BIGINT NOT NULL)"
        ));
        let db = &site.orm.db;
        let began = chrono::Utc::now();
        let row = instant::ActiveModel { id: Set(1), body: Set("a".into()), ..Default::default() };
        let mut last = row.insert(db).await.expect("inserted");
        for round in 0..10 {
            let mut edit = last.clone().into_active_model();
            edit.body = Set(round.to_string());
            let edited = edit.update(db).await.expect("updated");
            assert!(edited.changed_at > last.changed_at);
            below::ActiveModel { id: Set(round), instant_id: Set(1) }.insert(db).await.expect("inserted");
            last = instant::Entity::find_by_id(1).one(db).await.expect("a query").expect("the row");
            assert!(last.changed_at > edited.changed_at);
        }
        assert!(last.changed_at - began < chrono::Duration::minutes(10), "it is the time in UTC: {}", last.changed_at);
        site.fill(&last).await;
        below::ActiveModel { id: Set(100), instant_id: Set(1) }.insert(db).await.expect("inserted");
        let now = instant::Entity::find_by_id(1).one(db).await.expect("a query").expect("the row");
        site.is_gone("the row", &now).await;
    }
}
