//! Connections that are not wrapped: correct, with the installed sweeper.

use cachesweeper_tests::behaviours_of;
use cachesweeper_tests::orm::seaorm::entity::{comment, vote};
use cachesweeper_tests::orm::seaorm::{INSTALLED, new_vote};
use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Set};

behaviours_of! { SeaOrm;
    async fn single_saves_on_a_plain_connection_are_swept(site: &Site) {
        let _alone = INSTALLED.lock().await;
        site.orm.sweeper.install();
        let (article, other) = (site.article("plain").await, site.article("other").await);
        let comment = site.comment(&article, None).await;
        site.fill(&comment).await;
        let db = site.orm.db.inner().clone();

        let vote = new_vote(comment.id, "ada").insert(&db).await.expect("a vote");
        site.is_gone("the comment, after an insert", &comment).await;
        let mut changed = vote.into_active_model();
        changed.voter = Set("bob".into());
        let vote = changed.update(&db).await.expect("updated");
        site.is_gone("the comment, after an update", &comment).await;
        vote.into_active_model().delete(&db).await.expect("deleted");
        site.is_gone("the comment, after a delete", &comment).await;
        assert!(vote::Entity::find().all(&db).await.expect("a query").is_empty());

        let before = (site.reload_article(article.id).await, site.reload_article(other.id).await);
        let mut moving = comment::Model::from(&comment).into_active_model();
        moving.article_id = Set(Some(other.id));
        moving.update(&db).await.expect("moved");
        assert!(site.reload_article(article.id).await.updated_at > before.0.updated_at, "the old parent was touched");
        assert!(site.reload_article(other.id).await.updated_at > before.1.updated_at, "the new parent was touched");
        assert_eq!(site.stats().plain_writes, 0);
    }
}
