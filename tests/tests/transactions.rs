//! One sweep at commit, nothing on rollback; savepoints, panics, plain transactions.

use std::time::Duration;

use cachesweeper_seaorm::{CacheSweep, SweepTransaction};
use cachesweeper_tests::entity::{article, vote};
use cachesweeper_tests::site::{new_comment, new_vote};
use cachesweeper_tests::{Backend, behaviours};
use sea_orm::{ActiveModelTrait, DbErr, EntityTrait, IntoActiveModel, Set, TransactionError, TransactionTrait};

behaviours! {
    async fn a_transaction_sweeps_once_at_its_commit(site: Site) {
        let article = site.article("one sweep").await;
        let comments = [site.comment(&article, None).await, site.comment(&article, None).await];
        let article = site.reload_article(article.id).await;
        site.fill(&comments[0]).await;
        site.fill(&article).await;

        let txn = site.db.begin().await.expect("begun");
        let (trips, _) = site.round_trips(async {
            for voter in ["ada", "bob", "cyn"] {
                new_vote(&comments[0], voter).insert(&txn).await.expect("a vote");
                new_vote(&comments[1], voter).insert(&txn).await.expect("a vote");
            }
        }).await;
        assert_eq!(trips, 0, "saves in a transaction only collect");
        let (sweeper, reader) = (site.sweeper.clone(), comments[0].clone());
        let other_task = tokio::spawn(async move {
            sweeper.fragment(&reader, "probe").get_or_render(async || Ok::<_, DbErr>("probe")).await.expect("rendered").outcome().word()
        });
        assert_eq!(other_task.await.expect("joined"), "hit", "nothing is invalidated before the commit");
        let sweeps = site.sweeper.stats().sweeps;
        let (trips, result) = site.round_trips(txn.commit()).await;
        result.expect("committed");
        assert_eq!((trips, site.sweeper.stats().sweeps - sweeps), (2, 1), "one mark, one release");

        site.is_gone("the comment", &comments[0]).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > article.updated_at);
        site.is_gone("the article", &after).await;
    }

    async fn a_rollback_invalidates_nothing(site: Site) {
        let article = site.article("rollback").await;
        let comment = site.comment(&article, None).await;
        let article = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.fill(&article).await;
        let (trips, _) = site.round_trips(async {
            let txn = site.db.begin().await.expect("begun");
            new_vote(&comment, "ada").insert(&txn).await.expect("a vote");
            txn.rollback().await.expect("rolled back");
            let txn = site.db.begin().await.expect("begun");
            new_vote(&comment, "ada").insert(&txn).await.expect("a vote");
            drop(txn);
            let failed = site.db.transaction::<_, (), DbErr>(|txn| {
                let vote = new_vote(&comment, "ada");
                Box::pin(async move {
                    vote.insert(txn).await?;
                    Err(DbErr::Custom("changed my mind".into()))
                })
            }).await;
            assert!(matches!(failed, Err(TransactionError::Transaction(_))));
        }).await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        site.survives("the article", &site.reload_article(article.id).await).await;
        assert!(vote::Entity::find().all(&site.db).await.expect("a query").is_empty());
    }

    async fn a_panic_inside_rolls_back_and_releases(site: Site) {
        let article = site.article("panic").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let (db, row) = (site.db.clone(), comment.clone());
        let panicked = tokio::spawn(async move {
            db.transaction_async(async |txn: &SweepTransaction| {
                new_vote(&row, "ada").insert(txn).await?;
                if row.id > 0 {
                    panic!("on purpose");
                }
                Ok::<_, DbErr>(())
            }).await
        });
        assert!(panicked.await.expect_err("it panics").is_panic());
        site.survives("the comment", &comment).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment", &comment).await;
    }

    async fn a_savepoint_keeps_or_drops_its_part(site: Site) {
        let article = site.article("savepoints").await;
        let comments = [site.comment(&article, None).await, site.comment(&article, None).await, site.comment(&article, None).await];
        for comment in &comments {
            site.fill(comment).await;
        }
        site.db.transaction_async(async |txn: &SweepTransaction| {
            new_vote(&comments[0], "outer").insert(txn).await?;
            let dropped = txn.transaction_async(async |inner: &SweepTransaction| {
                new_vote(&comments[1], "dropped").insert(inner).await?;
                Err::<(), _>(DbErr::Custom("not this".into()))
            }).await;
            assert!(dropped.is_err());
            let nested = txn.begin().await?;
            let deeper = nested.begin().await?;
            new_vote(&comments[2], "kept").insert(&deeper).await?;
            deeper.commit().await?;
            nested.commit().await?;
            Ok::<_, DbErr>(())
        }).await.expect("committed");
        site.is_gone("the outer part", &comments[0]).await;
        site.survives("the part that was rolled back", &comments[1]).await;
        site.is_gone("the part that was kept", &comments[2]).await;
    }

    async fn lookups_bypass_while_their_task_has_changes_pending(site: Site) {
        let article = site.article("pending").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        site.db.transaction_async(async |txn: &SweepTransaction| {
            site.survives("before the first change", &comment).await;
            new_vote(&comment, "ada").insert(txn).await?;
            let inside = site.probe(&comment).await.outcome();
            assert_eq!(inside, cachesweeper_seaorm::Outcome::Bypass(cachesweeper_seaorm::Reason::InTransaction));
            Ok::<_, DbErr>(())
        }).await.expect("committed");
        site.is_gone("the comment", &comment).await;
    }

    async fn touches_rise_strictly_and_are_coalesced(site: Site) {
        let article = site.article("touches").await;
        let comment = site.comment(&article, None).await;
        let mut last = site.reload_article(article.id).await.updated_at;
        for round in 0..20 {
            site.vote(&comment, &format!("voter {round}")).await;
            let now = site.reload_article(article.id).await.updated_at;
            assert!(now > last, "{now} after {last}");
            last = now;
        }
        let txn = site.db.begin().await.expect("begun");
        let votes: Vec<_> = (0..20).map(|round| new_vote(&comment, &format!("again {round}"))).collect();
        for vote in votes {
            vote.insert(&txn).await.expect("a vote");
        }
        let (statements, result) = site.statements(txn.commit()).await;
        result.expect("committed");
        // Ancestors, touch (SQLite reads first), ancestors again.
        assert_eq!(statements, if site.backend == Backend::Sqlite { 4 } else { 3 });
        assert!(site.reload_article(article.id).await.updated_at > last);
    }

    async fn ancestors_cost_one_query_per_level_and_table(site: Site) {
        let articles = [site.article("a").await, site.article("b").await];
        let mut comments = Vec::new();
        for position in 0..10 {
            comments.push(site.comment(&articles[position % 2], None).await);
        }
        let txn = site.db.begin().await.expect("begun");
        for comment in &comments {
            for voter in ["ada", "bob"] {
                new_vote(comment, voter).insert(&txn).await.expect("a vote");
            }
        }
        let (statements, result) = site.statements(txn.commit()).await;
        result.expect("committed");
        assert_eq!(statements, if site.backend == Backend::Sqlite { 4 } else { 3 });
        let (trips, _) = site.round_trips(site.vote(&comments[0], "cyn")).await;
        assert_eq!(trips, 2, "one mark, one release");
    }

    async fn a_parent_whose_own_save_failed_is_touched_for_its_child(site: Site) {
        if site.backend == Backend::Postgres {
            // A statement that fails ends the whole transaction there.
            return;
        }
        let article = site.article("failed").await;
        let before = site.reload_article(article.id).await;
        let txn = site.db.begin().await.expect("begun");
        let missing = article::ActiveModel { id: Set(article.id), title: Set("x".repeat(300)), ..Default::default() };
        let failed = missing.update(&txn).await.is_err();
        assert_eq!(failed, site.backend == Backend::MySql, "only MySQL limits the title");
        new_comment(Some(article.id), None).insert(&txn).await.expect("a comment");
        txn.commit().await.expect("committed");
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
    }

    async fn invalidating_by_hand_inside_a_transaction_is_refused(site: Site) {
        let article = site.article("by hand").await;
        let comment = site.comment(&article, None).await;
        let txn = site.db.begin().await.expect("begun");
        new_vote(&comment, "ada").insert(&txn).await.expect("a vote");
        let refused = site.sweeper.invalidate(&comment).await.expect_err("refused").to_string();
        assert!(refused.contains("after its COMMIT"), "{refused}");
        txn.commit().await.expect("committed");
        site.sweeper.invalidate(&comment).await.expect("invalidated");
    }

    async fn a_commit_that_fails_releases_its_holds(site: Site) {
        if site.backend == Backend::MySql {
            // It has no deferred constraints, so that no COMMIT fails by itself.
            return;
        }
        let article = site.article("deferred").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let txn = site.db.begin().await.expect("begun");
        new_vote(&comment, "ada").insert(&txn).await.expect("a vote");
        new_comment(Some(999_999), None).insert(&txn).await.expect("the constraint is deferred");
        txn.commit().await.expect_err("the article does not exist");
        site.is_gone("the comment", &comment).await;
        assert_eq!(site.sweeper.stats().commits_unknown, 0);
        assert!(vote::Entity::find().all(&site.db).await.expect("a query").is_empty());
    }

    async fn a_caller_that_goes_away_during_the_commit_loses_no_sweep(site: Site) {
        let article = site.article("gone").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        for round in 0..30_u64 {
            let txn = site.db.begin().await.expect("begun");
            new_vote(&comment, &format!("voter {round}")).insert(&txn).await.expect("a vote");
            let _ = tokio::time::timeout(Duration::from_micros(round * 60), txn.commit()).await;
            let votes = async || vote::Entity::find().all(&site.db).await.expect("a query").len();
            // Whatever became of it: a fragment with fewer votes than the database has is stale.
            let shown = site.sweeper.fragment(&comment, "votes").get_or_render(async || Ok::<_, DbErr>(votes().await.to_string()));
            let counted = votes().await;
            let shown: usize = shown.await.expect("rendered").parse().expect("a number");
            assert!(shown >= counted, "{shown} shown, {counted} in the database");
        }
    }

    async fn extended_models_save_with_their_relations(site: Site) {
        let article = site.article("extended").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;
        let mut extended = comment.clone().into_active_model().into_ex();
        extended.body = Set("edited".into());
        extended.votes.push(vote::ActiveModel { voter: Set("ada".into()), ..Default::default() });
        extended.save(&site.db).await.expect("saved");
        assert_eq!(vote::Entity::find().all(&site.db).await.expect("a query").len(), 1);
        site.is_not_served("the old copy", &comment.record_key()).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        assert_eq!(site.sweeper.stats().plain_writes, 0, "the connection sees the end of its transactions");
    }

    async fn the_collection_of_a_touched_entity_is_invalidated(site: Site) {
        let article = site.article("front page").await;
        let comment = site.comment(&article, None).await;
        site.fill(article::Model::collection()).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the collection", article::Model::collection()).await;
    }
}
