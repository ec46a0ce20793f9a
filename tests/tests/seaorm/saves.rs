//! Saves of active models, and bulk writes.

use cachesweeper_seaorm::{CacheSweep, ExecAndSweep};
use cachesweeper_tests::orm::seaorm::entity::{article, coarse, comment, label, tag, vote};
use cachesweeper_tests::orm::seaorm::{new_comment, new_vote};
use cachesweeper_tests::{Orm as _, Writer as _, behaviours_of};
use sea_orm::ActiveValue::Unchanged;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, IntoActiveModel, ModelTrait, Set, Statement, TransactionTrait,
};

behaviours_of! { SeaOrm;
    async fn a_partial_copy_in_hand_sweeps_the_parents_that_the_row_has(site: &Site) {
        let article = site.article("partial").await;
        let comment = site.comment(&article, None).await;
        for round in 0..2 {
            let before = site.reload_article(article.id).await;
            let partial = comment::ActiveModel { id: Unchanged(comment.id), body: Set(format!("round {round}")), ..Default::default() };
            if round == 0 {
                partial.update(&site.orm.db).await.expect("updated");
            } else {
                partial.update_without_returning(&site.orm.db).await.expect("updated");
            }
            let after = site.reload_article(article.id).await;
            assert!(after.updated_at > before.updated_at, "round {round}: the article was touched");
        }
    }

    async fn an_update_with_nothing_set_sweeps_nothing(site: &Site) {
        let article = site.article("idle").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let (trips, _) = site
            .round_trips(async {
                comment::Model::from(&comment).into_active_model().update(&site.orm.db).await.expect("updated");
            })
            .await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        let missing = comment::ActiveModel { id: Set(999_999), body: Set("gone".into()), ..Default::default() };
        missing.update(&site.orm.db).await.expect_err("no such row");
    }

    async fn an_update_without_returning_sweeps(site: &Site) {
        let db = &site.orm.db;
        let article = site.article("no returning").await;
        let comment = site.comment(&article, None).await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        let mut edit = comment::Model::from(&comment).into_active_model();
        edit.body = Set("edited".into());
        edit.update_without_returning(db).await.expect("updated");
        if db.support_returning() {
            site.is_gone("the comment", &comment).await;
        } else {
            site.is_not_served("the comment, while the hold that nobody releases lasts", &comment).await;
        }
        site.is_not_served("the comment's new copy", &site.reload_comment(comment.id).await).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > before.updated_at, "its parent was touched when the call returned");
        // In a transaction, with a copy that says that the comment is still below its old article.
        let other = site.article("elsewhere").await;
        let mut moving = comment::Model::from(&comment).into_active_model();
        moving.article_id = Set(Some(other.id));
        moving.update(db).await.expect("moved");
        let before = site.reload_article(other.id).await;
        let txn = db.begin().await.expect("begun");
        let mut edit = comment::Model::from(&comment).into_active_model();
        edit.body = Set("edited again".into());
        edit.update_without_returning(&txn).await.expect("updated");
        txn.commit().await.expect("committed");
        assert!(site.reload_article(other.id).await.updated_at > before.updated_at, "the parent it has was touched");
    }

    async fn a_save_outside_a_transaction_is_seen_with_the_touch_of_its_parents_or_not_at_all(site: &Site) {
        let db = &site.orm.db;
        let article = site.article("refusing").await;
        let comment = site.comment(&article, None).await;
        let vote = new_vote(comment.id, "ada").insert(db).await.expect("a vote");
        // A writer that dies between the two would leave a row that its article does not show.
        db.execute_unprepared(match db.get_database_backend() {
            DbBackend::Sqlite => "CREATE TRIGGER refuse BEFORE UPDATE ON article BEGIN SELECT RAISE(ABORT, 'refused'); END",
            DbBackend::Postgres => {
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
                 CREATE TRIGGER refuse BEFORE UPDATE ON article FOR EACH ROW EXECUTE FUNCTION refuse()"
            }
            _ => "CREATE TRIGGER refuse BEFORE UPDATE ON article FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'",
        })
        .await
        .expect("a trigger");
        let refused = |what: &str, error: Option<DbErr>| {
            let error = error.unwrap_or_else(|| panic!("{what}: the touch was refused")).to_string();
            assert!(error.contains("refused"), "{what}: {error}");
        };
        let edit = || comment::ActiveModel { id: Unchanged(comment.id), body: Set("edited".into()), ..Default::default() };
        refused("insert", new_vote(comment.id, "bob").insert(db).await.err());
        refused("update", edit().update(db).await.err());
        refused("update without returning", edit().update_without_returning(db).await.err());
        refused("delete", vote.delete(db).await.err());
        assert_eq!(site.votes().await, 1);
        assert_eq!(site.reload_comment(comment.id).await.body, comment.body);
        // They are known to have failed, so nothing is held for them.
        site.fill(&comment).await;
    }

    async fn saves_of_one_row_at_once_make_versions_of_their_own(site: &Site) {
        let db = &site.orm.db;
        site.write().insert_coarse(1, "a").await.expect("inserted");
        // Ahead of every clock, and on most databases too coarse: what makes a version is the one before.
        db.execute_unprepared("UPDATE coarse SET changed_at = '2035-01-01 00:00:00'").await.expect("set");
        let log = match db.get_database_backend() {
            DbBackend::Sqlite => {
                "CREATE TABLE stamp (at TEXT NOT NULL);
                 CREATE TRIGGER stamps AFTER UPDATE ON coarse BEGIN INSERT INTO stamp VALUES (NEW.changed_at); END"
            }
            DbBackend::Postgres => {
                "CREATE TABLE stamp (at TIMESTAMP NOT NULL);
                 CREATE FUNCTION stamps() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN INSERT INTO stamp VALUES (NEW.changed_at); RETURN NEW; END $$;
                 CREATE TRIGGER stamps AFTER UPDATE ON coarse FOR EACH ROW EXECUTE FUNCTION stamps()"
            }
            _ => {
                "CREATE TABLE stamp (at DATETIME(6) NOT NULL);
                 CREATE TRIGGER stamps AFTER UPDATE ON coarse FOR EACH ROW INSERT INTO stamp VALUES (NEW.changed_at)"
            }
        };
        db.execute_unprepared(log).await.expect("a trigger");
        let copy = site.orm.load_coarse(1).await;
        let writers = (0..4).map(|writer| {
            let (db, copy) = (db.clone(), coarse::Model::from(&copy));
            tokio::spawn(async move {
                for round in 0..10 {
                    let mut edit = copy.clone().into_active_model();
                    edit.body = Set(format!("{writer} {round}"));
                    edit.update(&db).await.expect("updated");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("no panic");
        }
        let count = "SELECT COUNT(*) AS made, COUNT(DISTINCT at) AS own FROM stamp";
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), count)).await.expect("counted").expect("a row");
        let count = |name: &str| row.try_get::<i64>("", name).expect("a count");
        assert_eq!((count("made"), count("own")), (40, 40));
    }

    async fn the_version_is_not_the_caller_s_to_set_in_a_bulk_update(site: &Site) {
        let article = site.article("bulk").await;
        let twice = article::Entity::update_many().col_expr(article::Column::UpdatedAt, Expr::value(article.updated_at));
        let refused = twice.exec_and_sweep(&site.orm.db).await.expect_err("the version is not the caller's").to_string();
        assert!(refused.contains("updated_at") && refused.contains("leave it out"), "{refused}");
    }

    async fn a_bulk_write_of_many_rows_with_a_key_of_two_parts_sweeps_them(site: &Site) {
        let (article, db) = (site.article("labels").await, &site.orm.db);
        let names: Vec<String> = (0..1_100).map(|number| format!("tag {number}")).collect();
        let tags = names.iter().map(|name| tag::ActiveModel { name: Set(name.clone()), note: Set(String::new()) });
        tag::Entity::insert_many(tags).exec(db).await.expect("tags");
        let label = |name: &String| label::ActiveModel { article_id: Set(article.id), tag_name: Set(name.clone()), weight: Set(1) };
        label::Entity::insert_many(names.iter().map(label)).exec(db).await.expect("labels");
        let key = |name: &str| label::Model { article_id: article.id, tag_name: name.to_owned(), weight: 1 }.record_key();
        let heavier = label::Entity::update_many().col_expr(label::Column::Weight, Expr::value(2));
        for name in [&names[0], &names[1_099]] {
            site.fill(&key(name)).await;
        }
        assert_eq!(heavier.exec_and_sweep(db).await.expect("updated").rows_affected, 1_100);
        for name in [&names[0], &names[1_099]] {
            site.is_gone("a label", &key(name)).await;
            site.fill(&key(name)).await;
        }
        assert_eq!(label::Entity::delete_many().exec_and_sweep(db).await.expect("deleted").rows_affected, 1_100);
        site.is_gone("the last label", &key(&names[1_099])).await;
    }

    async fn extended_models_save_with_their_relations(site: &Site) {
        let article = site.article("extended").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;
        let mut extended = comment::Model::from(&comment).into_active_model().into_ex();
        extended.body = Set("edited".into());
        extended.votes.push(vote::ActiveModel { voter: Set("ada".into()), ..Default::default() });
        extended.save(&site.orm.db).await.expect("saved");
        assert_eq!(site.votes().await, 1);
        site.is_not_served("the old copy", &comment.record_key()).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        assert_eq!(site.stats().plain_writes, 0, "the connection sees the end of its transactions");
    }

    async fn a_transaction_that_inserts_by_active_models_sweeps_once(site: &Site) {
        let article = site.article("models").await;
        let before = site.stats();
        let txn = site.orm.db.begin().await.expect("begun");
        for _ in 0..3 {
            new_comment(Some(article.id), None).insert(&txn).await.expect("a comment");
        }
        txn.commit().await.expect("committed");
        assert_eq!(site.stats().sweeps - before.sweeps, 1);
    }
}
