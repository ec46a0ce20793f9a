//! Timestamps as versions: columns that are too coarse, and writers that race.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use cachesweeper_seaorm::SweepTransaction;
use cachesweeper_tests::site::new_comment;
use cachesweeper_tests::{Backend, behaviours};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, Set};

mod coarse {
    #![allow(missing_docs, unreachable_pub, reason = "SeaORM's macros write items without")]
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "coarse")]
    #[sweep(using = "changed_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub text: String,
        pub changed_at: DateTime,
    }
}

mod part {
    #![allow(missing_docs, unreachable_pub, reason = "SeaORM's macros write items without")]
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "part")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub coarse_id: i64,
        #[sea_orm(belongs_to, from = "coarse_id", to = "id")]
        pub coarse: BelongsTo<super::coarse::Entity>,
    }
}

behaviours! {
    async fn a_column_that_keeps_whole_seconds_still_rises_with_every_write(site: Site) {
        let (time, text) = match site.backend {
            Backend::Sqlite => ("TEXT", "TEXT"),
            Backend::Postgres => ("TIMESTAMP(0)", "TEXT"),
            Backend::MySql => ("DATETIME", "VARCHAR(100)"),
        };
        for table in [
            format!("CREATE TABLE coarse (id BIGINT PRIMARY KEY, text {text} NOT NULL, changed_at {time} NOT NULL)"),
            "CREATE TABLE part (id BIGINT PRIMARY KEY, coarse_id BIGINT NOT NULL)".to_owned(),
        ] {
            site.db.execute_unprepared(&table).await.expect("a table");
        }
        let row = coarse::ActiveModel { id: Set(1), text: Set("a".into()), ..Default::default() };
        let mut last = row.insert(&site.db).await.expect("inserted");
        let mut seen = BTreeSet::from([last.changed_at]);
        for round in 0..6 {
            // The row goes back and forth between two texts: only the version tells its states apart.
            let mut edit = last.clone().into_active_model();
            edit.text = Set(if round % 2 == 0 { "b" } else { "a" }.into());
            last = edit.update(&site.db).await.expect("updated");
            assert!(seen.insert(last.changed_at), "{} twice: {seen:?}", last.changed_at);
            let before = last.changed_at;
            part::ActiveModel { id: Set(round), coarse_id: Set(1) }.insert(&site.db).await.expect("inserted");
            last = coarse::Entity::find_by_id(1).one(&site.db).await.expect("a query").expect("the row");
            assert!(last.changed_at > before && seen.insert(last.changed_at), "{} twice: {seen:?}", last.changed_at);
        }
        site.fill(&last).await;
        part::ActiveModel { id: Set(100), coarse_id: Set(1) }.insert(&site.db).await.expect("inserted");
        let now = coarse::Entity::find_by_id(1).one(&site.db).await.expect("a query").expect("the row");
        site.is_gone("the coarse row", &now).await;
    }

    async fn writers_that_race_on_the_same_parents_neither_deadlock_nor_repeat_a_version(site: Site) {
        let articles = Arc::new([site.article("a").await, site.article("b").await]);
        let versions = Arc::new(Mutex::new(Vec::new()));
        let mut writers = Vec::new();
        for writer in 0..3_usize {
            let (db, articles, versions) = (site.db.clone(), articles.clone(), versions.clone());
            // InnoDB's foreign keys lock the parents in the order of the inserts, so there the writers keep to one.
            let any_order = site.backend != Backend::MySql;
            writers.push(tokio::spawn(async move {
                for round in 0..15_usize {
                    // Each writer names the parents in another order, where it can.
                    let order = if any_order && (writer + round) % 2 == 1 { [1, 0] } else { [0, 1] };
                    let ids = order.map(|position| articles[position].id);
                    let written = async {
                        db.transaction_async(async |txn: &SweepTransaction| {
                            for id in ids {
                                new_comment(Some(id), None).insert(txn).await?;
                            }
                            Ok::<_, DbErr>(())
                        }).await
                    };
                    written.await.unwrap_or_else(|error| panic!("writer {writer}, round {round}: {error}"));
                    for id in ids {
                        let article = cachesweeper_tests::entity::article::Entity::find_by_id(id).one(&db).await;
                        versions.lock().expect("no panic").push((id, article.expect("a query").expect("the article").updated_at));
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.expect("no writer fails");
        }
        let (count, distinct) = {
            let versions = versions.lock().expect("no panic");
            (versions.len(), versions.iter().collect::<BTreeSet<_>>().len())
        };
        // A version may be read by two writers, but every commit made one.
        assert!(count == 90 && distinct > 40, "{distinct} of {count}");
    }
}
