//! Transactions whose end the sweeper does not see: correct, by a long hold.

use cachesweeper_tests::{Orm, Site, Writer as _, behaviours};

/// How often the ORM marks such a write.
fn plain_marks<O: Orm>(_: &Site<O>) -> u64 {
    O::PLAIN_MARKS
}

behaviours! {
    async fn a_transaction_whose_end_cannot_be_seen_holds_for_long(site: &Site<impl Orm>) {
        let article = site.article("plain").await;
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;

        site.orm
            .plain_transaction(async |txn| {
                txn.insert_vote(comment.id, "ada").await?;
                site.is_not_served("the comment, before the commit", &comment).await;
                Ok(())
            })
            .await
            .expect("committed");

        assert_eq!(site.stats().plain_writes, plain_marks(site));
        assert_eq!(site.probe(&comment).await.outcome().word(), "bypass", "nobody releases the hold");
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        site.is_gone_when_its_hold_ends("the comment", &comment).await;
    }
}
