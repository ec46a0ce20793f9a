//! Callers that go away: whatever became of their write, no sweep is lost. Blocking code cannot go away like this.

use std::time::{Duration, Instant};

use cachesweeper_tests::orm::seaorm::new_vote;
use cachesweeper_tests::{Orm as _, behaviours_of};
use sea_orm::{ActiveModelTrait, TransactionTrait};

behaviours_of! { SeaOrm;
    async fn a_caller_that_goes_away_during_a_save_loses_no_sweep(site: &Site) {
        let article = site.article("gone").await;
        let comment = site.comment(&article, None).await;
        for round in 0..10_u64 {
            let before = site.reload_article(article.id).await;
            let voter = format!("voter {round}");
            let save = new_vote(comment.id, &voter).insert(&site.orm.db);
            let _ = tokio::time::timeout(Duration::from_micros(150 * round), save).await;
            // The statement may still be on its way, or never have been sent: there is nothing to wait for.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let votes = site.orm.load_votes().await;
            if votes.iter().all(|vote| vote.voter != voter) {
                continue;
            }
            let until = Instant::now() + Duration::from_secs(10);
            while site.reload_article(article.id).await.updated_at == before.updated_at {
                assert!(Instant::now() < until, "the article of a written vote was never touched");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn a_caller_that_goes_away_during_the_commit_loses_no_sweep(site: &Site) {
        let article = site.article("gone").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        for round in 0..30_u64 {
            let txn = site.orm.db.begin().await.expect("begun");
            new_vote(comment.id, &format!("voter {round}")).insert(&txn).await.expect("a vote");
            let _ = tokio::time::timeout(Duration::from_micros(round * 60), txn.commit()).await;
            // Whatever became of it: a fragment with fewer votes than the database had before it was asked for is stale.
            let counted = site.votes().await;
            let shown = site.orm.render(&comment, "votes", async || site.votes().await.to_string()).await;
            let shown: usize = shown.parse().expect("a number");
            assert!(shown >= counted, "{shown} shown, {counted} in the database");
        }
    }
}
