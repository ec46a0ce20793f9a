//! One sweep at commit, nothing on rollback; savepoints, panics.

use std::panic::AssertUnwindSafe;

use cachesweeper_core::{Outcome, Reason};
use cachesweeper_tests::orm::{Failed, Result};
use cachesweeper_tests::{Backend, Orm, Writer as _, behaviours};
use futures_util::FutureExt as _;

/// How many statements the ORM's commit takes.
fn commit_statements<O: Orm>(site: &cachesweeper_tests::Site<O>) -> usize {
    O::commit_statements(site.backend)
}

behaviours! {
    async fn a_transaction_sweeps_once_at_its_commit(site: &Site<impl Orm>) {
        let article = site.article("one sweep").await;
        let comments = [site.comment(&article, None).await, site.comment(&article, None).await];
        let article = site.reload_article(article.id).await;
        site.fill(&comments[0]).await;
        site.fill(&article).await;

        let sweeps = site.stats().sweeps;
        let before_commit = site
            .transaction(async |txn| {
                let (trips, done) = site
                    .round_trips(async {
                        for voter in ["ada", "bob", "cyn"] {
                            txn.insert_vote(comments[0].id, voter).await?;
                            txn.insert_vote(comments[1].id, voter).await?;
                        }
                        Result::Ok(())
                    })
                    .await;
                done?;
                assert_eq!(trips, 0, "writes in a transaction only collect");
                let elsewhere = site.orm.probe_elsewhere(vec![comments[0].on.clone()]).await;
                assert_eq!(elsewhere, Outcome::Hit, "nothing is invalidated before the commit");
                Ok(site.stats().round_trips)
            })
            .await
            .expect("committed");
        let stats = site.stats();
        assert_eq!((stats.round_trips - before_commit, stats.sweeps - sweeps), (2, 1), "one mark, one release");

        site.is_gone("the comment", &comments[0]).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > article.updated_at);
        site.is_gone("the article", &after).await;
    }

    async fn a_rollback_invalidates_nothing(site: &Site<impl Orm>) {
        let article = site.article("rollback").await;
        let comment = site.comment(&article, None).await;
        let article = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.fill(&article).await;
        let (trips, failed) = site
            .round_trips(site.transaction(async |txn| {
                txn.insert_vote(comment.id, "ada").await?;
                Result::<()>::Err(Failed("changed my mind".into()))
            }))
            .await;
        assert_eq!(failed.expect_err("rolled back").to_string(), "changed my mind", "the closure's own error");
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        site.survives("the article", &site.reload_article(article.id).await).await;
        assert_eq!(site.votes().await, 0);
    }

    async fn a_panic_inside_rolls_back_and_releases(site: &Site<impl Orm>) {
        let article = site.article("panic").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let transaction = site.transaction(async |txn| {
            txn.insert_vote(comment.id, "ada").await?;
            if comment.id > 0 {
                panic!("on purpose");
            }
            Ok(())
        });
        let panic = AssertUnwindSafe(transaction).catch_unwind().await.expect_err("it panics");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
        site.survives("the comment", &comment).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment", &comment).await;
        assert_eq!(site.votes().await, 1, "the connection is good for more");
    }

    async fn a_savepoint_keeps_or_drops_its_part(site: &Site<impl Orm>) {
        let article = site.article("savepoints").await;
        let comments = [site.comment(&article, None).await, site.comment(&article, None).await, site.comment(&article, None).await];
        for comment in &comments {
            site.fill(comment).await;
        }
        site.transaction(async |txn| {
            txn.insert_vote(comments[0].id, "outer").await?;
            let dropped = txn
                .nested(async |inner| {
                    inner.insert_vote(comments[1].id, "dropped").await?;
                    Result::<()>::Err(Failed("not this".into()))
                })
                .await;
            assert_eq!(dropped.expect_err("dropped").to_string(), "not this");
            txn.nested(async |inner| {
                inner
                    .nested(async |deeper| {
                        deeper.insert_vote(comments[2].id, "kept").await?;
                        Ok(())
                    })
                    .await
            })
            .await
        })
        .await
        .expect("committed");
        site.is_gone("the outer part", &comments[0]).await;
        site.survives("the part that was rolled back", &comments[1]).await;
        site.is_gone("the part that was kept", &comments[2]).await;
        assert_eq!(site.votes().await, 2);
    }

    async fn a_savepoint_that_is_rolled_back_takes_what_its_own_savepoints_kept(site: &Site<impl Orm>) {
        let article = site.article("savepoints").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let (trips, _) = site
            .round_trips(site.transaction(async |txn| {
                let dropped = txn
                    .nested(async |inner| {
                        inner.nested(async |deeper| deeper.insert_vote(comment.id, "kept at first").await).await?;
                        Result::<()>::Err(Failed("not this".into()))
                    })
                    .await;
                dropped.expect_err("dropped");
                Ok(())
            }))
            .await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        assert_eq!(site.votes().await, 0);
    }

    async fn lookups_bypass_while_their_task_has_changes_pending(site: &Site<impl Orm>) {
        let article = site.article("pending").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        site.transaction(async |txn| {
            site.survives("before the first change", &comment).await;
            txn.insert_vote(comment.id, "ada").await?;
            let inside = site.probe(&comment).await.outcome();
            assert_eq!(inside, Outcome::Bypass(Reason::InTransaction));
            Ok(())
        })
        .await
        .expect("committed");
        site.is_gone("the comment", &comment).await;
    }

    async fn touches_rise_strictly_and_are_coalesced(site: &Site<impl Orm>) {
        let article = site.article("touches").await;
        let comment = site.comment(&article, None).await;
        let mut last = site.reload_article(article.id).await.updated_at;
        for round in 0..20 {
            site.vote(&comment, &format!("voter {round}")).await;
            let now = site.reload_article(article.id).await.updated_at;
            assert!(now > last, "{now} after {last}");
            last = now;
        }
        let before_commit = site
            .transaction(async |txn| {
                for round in 0..20 {
                    txn.insert_vote(comment.id, &format!("again {round}")).await?;
                }
                Ok(site.orm.statements())
            })
            .await
            .expect("committed");
        assert_eq!(site.orm.statements() - before_commit, commit_statements(site));
        assert!(site.reload_article(article.id).await.updated_at > last);
    }

    async fn ancestors_cost_one_query_per_level_and_table(site: &Site<impl Orm>) {
        let articles = [site.article("a").await, site.article("b").await];
        let mut comments = Vec::new();
        for position in 0..10 {
            comments.push(site.comment(&articles[position % 2], None).await);
        }
        let before_commit = site
            .transaction(async |txn| {
                for comment in &comments {
                    for voter in ["ada", "bob"] {
                        txn.insert_vote(comment.id, voter).await?;
                    }
                }
                Ok(site.orm.statements())
            })
            .await
            .expect("committed");
        assert_eq!(site.orm.statements() - before_commit, commit_statements(site));
        let (trips, _) = site.round_trips(site.vote(&comments[0], "cyn")).await;
        assert_eq!(trips, 2, "one mark, one release");
    }

    async fn a_parent_whose_own_save_failed_is_touched_for_its_child(site: &Site<impl Orm>) {
        if site.backend == Backend::Postgres {
            // A statement that fails ends the whole transaction there.
            return;
        }
        let article = site.article("failed").await;
        let before = site.reload_article(article.id).await;
        site.transaction(async |txn| {
            let failed = txn.retitle_article(article.id, &"x".repeat(300)).await.is_err();
            assert_eq!(failed, site.backend == Backend::MySql, "only MySQL limits the title");
            txn.insert_comment(Some(article.id), None).await?;
            Ok(())
        })
        .await
        .expect("committed");
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
    }

    async fn a_commit_that_fails_releases_its_holds(site: &Site<impl Orm>) {
        if site.backend == Backend::MySql {
            // It has no deferred constraints, so that no COMMIT fails by itself.
            return;
        }
        let article = site.article("deferred").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let failed = site
            .transaction(async |txn| {
                txn.insert_vote(comment.id, "ada").await?;
                txn.insert_comment(Some(999_999), None).await.expect("the constraint is deferred");
                Ok(())
            })
            .await;
        failed.expect_err("the article does not exist");
        site.is_gone("the comment", &comment).await;
        assert_eq!(site.stats().commits_unknown, 0);
        assert_eq!(site.votes().await, 0);
        site.vote(&comment, "ada").await;
        site.is_gone("the comment: the connection is good for more", &comment).await;
    }

    async fn invalidating_by_hand_inside_a_transaction_is_refused(site: &Site<impl Orm>) {
        let article = site.article("by hand").await;
        let comment = site.comment(&article, None).await;
        site.transaction(async |txn| {
            txn.insert_vote(comment.id, "ada").await?;
            let refused = txn.invalidate(&comment).await.expect_err("refused").to_string();
            assert!(refused.contains("after its COMMIT"), "{refused}");
            Ok(())
        })
        .await
        .expect("committed");
        site.invalidate(&comment).await.expect("invalidated");
    }

    async fn the_collection_of_a_touched_entity_is_invalidated(site: &Site<impl Orm>) {
        let article = site.article("front page").await;
        let comment = site.comment(&article, None).await;
        site.fill(site.articles()).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the collection", site.articles()).await;
    }
}
