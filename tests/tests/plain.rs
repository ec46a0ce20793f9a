//! Connections that are not wrapped: correct, with the installed sweeper.

use std::time::Duration;

use cachesweeper_tests::behaviours;
use cachesweeper_tests::site::new_vote;
use sea_orm::{ActiveModelTrait, IntoActiveModel, Set, TransactionTrait};
use tokio::sync::Mutex;

/// The installed sweeper is the program's, so these tests take turns.
static ALONE: Mutex<()> = Mutex::const_new(());

behaviours! {
    async fn a_transaction_whose_end_cannot_be_seen_holds_for_long(site: Site) {
        let _alone = ALONE.lock().await;
        site.sweeper.install();
        let article = site.article("plain").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;

        let txn = site.db.inner().begin().await.expect("begun");
        new_vote(&comment, "ada").insert(&txn).await.expect("a vote");
        site.is_not_served("the comment, before the commit", &comment).await;
        txn.commit().await.expect("committed");

        assert_eq!(site.sweeper.stats().plain_writes, 2, "before and after the save");
        site.is_not_served("the comment", &comment).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        tokio::time::sleep(Duration::from_millis(800)).await;
        site.is_gone("the comment, when the hold is over", &comment).await;
    }

    async fn single_saves_on_a_plain_connection_are_swept(site: Site) {
        let _alone = ALONE.lock().await;
        site.sweeper.install();
        let (article, other) = (site.article("plain").await, site.article("other").await);
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let db = site.db.inner().clone();

        let vote = new_vote(&comment, "ada").insert(&db).await.expect("a vote");
        site.is_gone("the comment, after an insert", &comment).await;
        let mut changed = vote.into_active_model();
        changed.voter = Set("bob".into());
        let vote = changed.update(&db).await.expect("updated");
        site.is_gone("the comment, after an update", &comment).await;
        vote.into_active_model().delete(&db).await.expect("deleted");
        site.is_gone("the comment, after a delete", &comment).await;

        let before = (site.reload_article(article.id).await, site.reload_article(other.id).await);
        let mut moving = comment.into_active_model();
        moving.article_id = Set(Some(other.id));
        moving.update(&db).await.expect("moved");
        assert!(site.reload_article(article.id).await.updated_at > before.0.updated_at, "the old parent was touched");
        assert!(site.reload_article(other.id).await.updated_at > before.1.updated_at, "the new parent was touched");
        assert_eq!(site.sweeper.stats().plain_writes, 0);
    }
}
