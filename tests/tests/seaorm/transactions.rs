//! `begin`, `commit`, `rollback` and boxed closures: the forms that only SeaORM has.

use cachesweeper_tests::behaviours_of;
use cachesweeper_tests::orm::seaorm::new_vote;
use sea_orm::{ActiveModelTrait, DbErr, TransactionError, TransactionTrait};

behaviours_of! { SeaOrm;
    async fn a_transaction_that_is_not_committed_invalidates_nothing(site: &Site) {
        let article = site.article("rollback").await;
        let comment = site.comment(&article, None).await;
        let article = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.fill(&article).await;
        let (trips, _) = site
            .round_trips(async {
                let db = &site.orm.db;
                let txn = db.begin().await.expect("begun");
                new_vote(comment.id, "ada").insert(&txn).await.expect("a vote");
                txn.rollback().await.expect("rolled back");
                let txn = db.begin().await.expect("begun");
                new_vote(comment.id, "ada").insert(&txn).await.expect("a vote");
                drop(txn);
                let failed = db
                    .transaction::<_, (), DbErr>(|txn| {
                        let vote = new_vote(comment.id, "ada");
                        Box::pin(async move {
                            vote.insert(txn).await?;
                            Err(DbErr::Custom("changed my mind".into()))
                        })
                    })
                    .await;
                assert!(matches!(failed, Err(TransactionError::Transaction(_))));
            })
            .await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        site.survives("the article", &site.reload_article(article.id).await).await;
        assert_eq!(site.votes().await, 0);
    }

    async fn savepoints_that_are_begun_and_committed_keep_their_part(site: &Site) {
        let article = site.article("savepoints").await;
        let comments = [site.comment(&article, None).await, site.comment(&article, None).await];
        for comment in &comments {
            site.fill(comment).await;
        }
        let txn = site.orm.db.begin().await.expect("begun");
        let dropped = txn.begin().await.expect("a savepoint");
        new_vote(comments[0].id, "dropped").insert(&dropped).await.expect("a vote");
        dropped.rollback().await.expect("rolled back");
        let nested = txn.begin().await.expect("a savepoint");
        let deeper = nested.begin().await.expect("a savepoint");
        new_vote(comments[1].id, "kept").insert(&deeper).await.expect("a vote");
        deeper.commit().await.expect("released");
        nested.commit().await.expect("released");
        txn.commit().await.expect("committed");
        site.survives("the part that was rolled back", &comments[0]).await;
        site.is_gone("the part that was kept", &comments[1]).await;
    }
}
