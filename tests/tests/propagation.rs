//! A write invalidates its row and every parent of it, and nothing else.

use cachesweeper_seaorm::{CacheSweep, ExecAndSweep, insert_many_and_sweep};
use cachesweeper_tests::entity::{article, comment, label, tag, vote};
use cachesweeper_tests::site::{new_comment, new_vote};
use cachesweeper_tests::{Backend, behaviours};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, Set, TransactionTrait,
};

behaviours! {
    async fn a_vote_invalidates_its_comment_and_the_article(site: Site) {
        let (article, other) = (site.article("one").await, site.article("two").await);
        let (comment, sibling) = (site.comment(&article, None).await, site.comment(&article, None).await);
        let (article, elsewhere) = (site.reload_article(article.id).await, site.comment(&other, None).await);
        let other = site.reload_article(other.id).await;
        for row in [&comment, &sibling, &elsewhere] {
            site.fill(row).await;
        }
        site.fill(&article).await;
        site.fill(&other).await;
        site.fill(article::Model::collection()).await;

        site.vote(&comment, "ada").await;

        let article = site.reload_article(article.id).await;
        site.is_gone("the comment", &comment).await;
        site.is_gone("the article", &article).await;
        site.is_gone("the collection of articles", article::Model::collection()).await;
        site.survives("a sibling", &sibling).await;
        site.survives("another article's comment", &elsewhere).await;
        site.survives("another article", &other).await;
    }

    async fn a_reply_invalidates_every_comment_above_it(site: Site) {
        let article = site.article("threads").await;
        let root = site.comment(&article, None).await;
        let reply = site.comment(&article, Some(&root)).await;
        let deep = new_comment(None, Some(reply.id)).insert(&site.db).await.expect("a comment");
        for row in [&root, &reply, &deep] {
            site.fill(row).await;
        }
        let article = site.reload_article(article.id).await;
        site.fill(&article).await;

        // Only its ancestors lead from this vote to the article.
        site.vote(&deep, "ada").await;

        for (what, row) in [("the root", &root), ("the reply", &reply), ("the comment", &deep)] {
            site.is_gone(what, row).await;
        }
        let touched = site.reload_article(article.id).await;
        assert!(touched.updated_at > article.updated_at);
        site.is_gone("the article", &touched).await;
    }

    async fn a_fragment_can_be_looked_up_by_key_alone(site: Site) {
        let article = site.article("keys").await;
        let comment = site.comment(&article, None).await;
        let key = comment::Model::key(comment.id);
        assert_eq!(key, comment.record_key());
        site.fill(&key).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment by key", &key).await;
        // The forms are separate fragments.
        site.fill(&comment).await;
        site.survives("the comment by key", &key).await;
    }

    async fn a_key_that_was_looked_up_before_its_row_existed_is_invalidated_by_the_insert(site: Site) {
        let article = site.article("not yet").await;
        let last = site.comment(&article, None).await;
        let next = comment::Model::key(last.id + 1);
        site.fill(&next).await;
        let comment = site.comment(&article, None).await;
        assert_eq!(comment.record_key(), next);
        site.is_gone("the cached absence", &next).await;
    }

    async fn a_move_invalidates_the_old_and_the_new_parent(site: Site) {
        let (from, to) = (site.article("from").await, site.article("to").await);
        let comment = site.comment(&from, None).await;
        let (from, to) = (site.reload_article(from.id).await, site.reload_article(to.id).await);
        site.fill(&from).await;
        site.fill(&to).await;

        let mut moving = comment.clone().into_active_model();
        moving.article_id = Set(Some(to.id));
        moving.update(&site.db).await.expect("moved");

        let (from_now, to_now) = (site.reload_article(from.id).await, site.reload_article(to.id).await);
        assert!(from_now.updated_at > from.updated_at && to_now.updated_at > to.updated_at);
        site.is_gone("the old parent", &from_now).await;
        site.is_gone("the new parent", &to_now).await;
    }

    async fn a_stale_copy_in_hand_still_sweeps_the_current_parent(site: Site) {
        let (old, new) = (site.article("old").await, site.article("new").await);
        let copy = site.comment(&old, None).await;
        let mut moving = copy.clone().into_active_model();
        moving.article_id = Set(Some(new.id));
        moving.update(&site.db).await.expect("moved");
        let before = site.reload_article(new.id).await;
        site.fill(&before).await;

        // This copy still says that the comment is below `old`.
        let mut edit = copy.into_active_model();
        edit.body = Set("edited".into());
        edit.update(&site.db).await.expect("updated");

        let after = site.reload_article(new.id).await;
        assert!(after.updated_at > before.updated_at, "the current parent was touched");
        site.is_gone("the current parent", &after).await;
    }

    async fn a_partial_copy_in_hand_sweeps_the_parents_that_the_row_has(site: Site) {
        let article = site.article("partial").await;
        let comment = site.comment(&article, None).await;
        for round in 0..2 {
            let before = site.reload_article(article.id).await;
            let partial = comment::ActiveModel { id: sea_orm::ActiveValue::Unchanged(comment.id), body: Set(format!("round {round}")), ..Default::default() };
            if round == 0 {
                partial.update(&site.db).await.expect("updated");
            } else {
                partial.update_without_returning(&site.db).await.expect("updated");
            }
            let after = site.reload_article(article.id).await;
            assert!(after.updated_at > before.updated_at, "round {round}: the article was touched");
        }
    }

    async fn saves_of_one_row_at_the_same_time_each_touch_its_parent(site: Site) {
        let article = site.article("crowd").await;
        let comment = site.comment(&article, None).await;
        for round in 0..5 {
            let edit = async |text: &str| {
                let mut edit = comment.clone().into_active_model();
                edit.body = Set(format!("{text} {round}"));
                edit.update(&site.db).await.expect("updated");
                // Whatever the others do: after this save, a fragment of the article from before it is gone.
                site.reload_article(article.id).await.updated_at
            };
            let before = site.reload_article(article.id).await;
            site.fill(&before).await;
            let (one, two, three) = tokio::join!(edit("one"), edit("two"), edit("three"));
            assert!(one > before.updated_at && two > before.updated_at && three > before.updated_at);
            site.is_gone("the article", &site.reload_article(article.id).await).await;
        }
        let key = comment.record_key();
        site.fill(&key).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment: no hold was left behind", &key).await;
    }

    async fn a_delete_sweeps_though_only_the_key_is_given(site: Site) {
        let article = site.article("deletes").await;
        let comment = site.comment(&article, None).await;
        let vote = site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;

        vote::ActiveModel { id: Set(vote.id), ..Default::default() }.delete(&site.db).await.expect("deleted");

        site.is_gone("the comment", &comment).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        site.vote(&comment, "ada").await.delete(&site.db).await.expect("deleted by its model");
        site.is_gone("the comment", &comment).await;
    }

    async fn an_update_that_changes_nothing_sweeps_nothing(site: Site) {
        let article = site.article("idle").await;
        let comment = site.comment(&article, None).await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.fill(&before).await;
        let (trips, _) = site.round_trips(async {
            comment.clone().into_active_model().update(&site.db).await.expect("updated");
            let mut viewed = comment.clone().into_active_model();
            viewed.views = Set(7);
            viewed.update(&site.db).await.expect("a skipped column was updated");
            let mut viewed = before.clone().into_active_model();
            viewed.views = Set(7);
            viewed.update(&site.db).await.expect("a skipped column was updated");
        }).await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        let after = site.reload_article(article.id).await;
        assert_eq!((after.updated_at, after.views), (before.updated_at, 7));
        site.survives("the article, whose row differs in a skipped column only", &after).await;
    }

    async fn an_update_without_returning_sweeps(site: Site) {
        let article = site.article("no returning").await;
        let comment = site.comment(&article, None).await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        let mut edit = comment.clone().into_active_model();
        edit.body = Set("edited".into());
        edit.update_without_returning(&site.db).await.expect("updated");
        if site.db.support_returning() {
            site.is_gone("the comment", &comment).await;
        } else {
            site.is_not_served("the comment, while the hold that nobody releases lasts", &comment).await;
        }
        site.is_not_served("the comment's new copy", &site.reload_comment(comment.id).await).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > before.updated_at, "its parent was touched when the call returned");
        // In a transaction, with a copy that says that the comment is still below its old article.
        let other = site.article("elsewhere").await;
        let mut moving = comment.clone().into_active_model();
        moving.article_id = Set(Some(other.id));
        moving.update(&site.db).await.expect("moved");
        let before = site.reload_article(other.id).await;
        let txn = site.db.begin().await.expect("begun");
        let mut edit = comment.into_active_model();
        edit.body = Set("edited again".into());
        edit.update_without_returning(&txn).await.expect("updated");
        txn.commit().await.expect("committed");
        assert!(site.reload_article(other.id).await.updated_at > before.updated_at, "the parent it has was touched");
    }

    async fn a_statement_that_fails_leaves_no_hold_behind(site: Site) {
        let article = site.article("duplicates").await;
        let comment = site.comment(&article, None).await;
        site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        new_vote(&comment, "ada").insert(&site.db).await.expect_err("a second vote is refused");
        site.is_gone("the comment", &comment).await;
        let missing = comment::ActiveModel { id: Set(999_999), body: Set("gone".into()), ..Default::default() };
        missing.update(&site.db).await.expect_err("no such row");
    }

    async fn a_caller_that_goes_away_during_a_save_loses_no_sweep(site: Site) {
        let article = site.article("gone").await;
        let comment = site.comment(&article, None).await;
        for round in 0..10_u64 {
            let before = site.reload_article(article.id).await;
            let save = new_vote(&comment, &format!("voter {round}")).insert(&site.db);
            let _ = tokio::time::timeout(std::time::Duration::from_micros(150 * round), save).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let written = vote::Entity::find().filter(vote::Column::Voter.eq(format!("voter {round}"))).one(&site.db).await;
            if written.expect("a query").is_none() {
                continue;
            }
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while site.reload_article(article.id).await.updated_at == before.updated_at {
                assert!(std::time::Instant::now() < until, "the article of a written vote was never touched");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    async fn text_keys_and_composite_keys_are_followed(site: Site) {
        let article = site.article("labels").await;
        let tag = tag::ActiveModel { name: Set("Rust, safe".into()), note: Set(String::new()) }.insert(&site.db).await.expect("a tag");
        site.fill(&tag).await;
        let name = if site.backend == Backend::MySql { "RUST, SAFE" } else { "Rust, safe" };
        let label = label::ActiveModel { article_id: Set(article.id), tag_name: Set(name.into()), weight: Set(1) };
        let label = label.insert(&site.db).await.expect("a label");
        site.is_gone("the tag, however the label spells it", &tag).await;
        assert_eq!(label.record_key().id().collect::<Vec<_>>(), [article.id.to_string(), name.into()]);
        site.fill(&label).await;
        let mut heavier = label.clone().into_active_model();
        heavier.weight = Set(2);
        let label = heavier.update(&site.db).await.expect("updated");
        site.is_gone("the label", &label).await;
        site.is_gone("the tag", &tag).await;
    }

    async fn bulk_writes_sweep_what_they_changed(site: Site) {
        let (article, other) = (site.article("bulk").await, site.article("other").await);
        let comments = insert_many_and_sweep((0..5).map(|_| new_comment(Some(article.id), None)), &site.db).await.expect("inserted");
        let elsewhere = site.comment(&other, None).await;
        for comment in &comments {
            site.fill(&comment.record_key()).await;
        }
        site.fill(&elsewhere.record_key()).await;
        let (before, other_before) = (site.reload_article(article.id).await, site.reload_article(other.id).await);

        let moved = comment::Entity::update_many()
            .col_expr(comment::Column::ArticleId, Expr::value(other.id))
            .filter(comment::Column::Id.lte(comments[2].id))
            .exec_and_sweep(&site.db).await.expect("moved");
        assert_eq!(moved.rows_affected, 3);
        for (position, comment) in comments.iter().enumerate() {
            if position < 3 {
                site.is_gone("a moved comment", &comment.record_key()).await;
            } else {
                site.survives("a comment that stayed", &comment.record_key()).await;
            }
        }
        site.survives("another comment", &elsewhere.record_key()).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at, "the old parent was touched");
        assert!(site.reload_article(other.id).await.updated_at > other_before.updated_at, "the new parent was touched");

        let titles = article::Entity::update_many().col_expr(article::Column::Title, Expr::value("same"));
        let before = site.reload_article(article.id).await;
        titles.exec_and_sweep(&site.db).await.expect("renamed");
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at, "its own version rises too");

        let twice = article::Entity::update_many().col_expr(article::Column::UpdatedAt, Expr::value(before.updated_at));
        let refused = twice.exec_and_sweep(&site.db).await.expect_err("the version is not the caller's").to_string();
        assert!(refused.contains("updated_at") && refused.contains("leave it out"), "{refused}");

        let deleted = comment::Entity::delete_many().filter(comment::Column::ArticleId.eq(article.id)).exec_and_sweep(&site.db).await;
        assert_eq!(deleted.expect("deleted").rows_affected, 2);
        site.is_gone("a deleted comment", &comments[4].record_key()).await;
    }

    async fn records_are_invalidated_by_hand_with_their_parents(site: Site) {
        let article = site.article("by hand").await;
        let comment = site.comment(&article, None).await;
        let vote = site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;
        site.sweeper.invalidate(&vote).await.expect("invalidated");
        site.is_gone("the comment", &comment).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > before.updated_at);
        site.sweeper.invalidate(&after).await.expect("invalidated");
        assert!(site.reload_article(article.id).await.updated_at > after.updated_at, "a timestamp record is invalidated by touching it");
    }

    async fn a_tree_deeper_than_its_bound_invalidates_the_whole_entity(site: Site) {
        let article = site.article("deep").await;
        let mut comments = vec![site.comment(&article, None).await];
        for _ in 0..12 {
            let parent = comments[comments.len() - 1].id;
            comments.push(new_comment(None, Some(parent)).insert(&site.db).await.expect("a comment"));
        }
        let (root, leaf) = (&comments[0], &comments[12]);
        let article = site.reload_article(article.id).await;
        site.fill(root).await;
        site.fill(&article).await;
        let before = site.sweeper.stats().depth_exceeded;
        site.vote(leaf, "ada").await;
        assert!(site.sweeper.stats().depth_exceeded > before);
        site.is_gone("the root, beyond the bound", root).await;
        site.is_gone("the article above it", &site.reload_article(article.id).await).await;
    }
}
