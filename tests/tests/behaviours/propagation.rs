//! A write invalidates its row and every parent of it, and nothing else.

use cachesweeper_tests::{Backend, Writer as _, behaviours};

behaviours! {
    async fn a_vote_invalidates_its_comment_and_the_article(site: &Site<impl Orm>) {
        let (article, other) = (site.article("one").await, site.article("two").await);
        let (comment, sibling) = (site.comment(&article, None).await, site.comment(&article, None).await);
        let (article, elsewhere) = (site.reload_article(article.id).await, site.comment(&other, None).await);
        let other = site.reload_article(other.id).await;
        for row in [&comment, &sibling, &elsewhere] {
            site.fill(row).await;
        }
        site.fill(&article).await;
        site.fill(&other).await;
        site.fill(site.articles()).await;

        site.vote(&comment, "ada").await;

        let article = site.reload_article(article.id).await;
        site.is_gone("the comment", &comment).await;
        site.is_gone("the article", &article).await;
        site.is_gone("the collection of articles", site.articles()).await;
        site.survives("a sibling", &sibling).await;
        site.survives("another article's comment", &elsewhere).await;
        site.survives("another article", &other).await;
    }

    async fn a_reply_invalidates_every_comment_above_it(site: &Site<impl Orm>) {
        let article = site.article("threads").await;
        let root = site.comment(&article, None).await;
        let reply = site.comment(&article, Some(&root)).await;
        let deep = site.write().insert_comment(None, Some(reply.id)).await.expect("a comment");
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

    async fn a_fragment_can_be_looked_up_by_key_alone(site: &Site<impl Orm>) {
        let article = site.article("keys").await;
        let comment = site.comment(&article, None).await;
        let key = site.comment_key(comment.id);
        assert_eq!(key, comment.record_key());
        site.fill(&key).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment by key", &key).await;
        // The forms are separate fragments.
        site.fill(&comment).await;
        site.survives("the comment by key", &key).await;
    }

    async fn a_key_that_was_looked_up_before_its_row_existed_is_invalidated_by_the_insert(site: &Site<impl Orm>) {
        let article = site.article("not yet").await;
        let last = site.comment(&article, None).await;
        let next = site.comment_key(last.id + 1);
        site.fill(&next).await;
        let comment = site.comment(&article, None).await;
        assert_eq!(comment.record_key(), next);
        site.is_gone("the cached absence", &next).await;
    }

    async fn a_move_invalidates_the_old_and_the_new_parent(site: &Site<impl Orm>) {
        let (from, to) = (site.article("from").await, site.article("to").await);
        let comment = site.comment(&from, None).await;
        let (from, to) = (site.reload_article(from.id).await, site.reload_article(to.id).await);
        site.fill(&from).await;
        site.fill(&to).await;

        site.write().move_comment(&comment, to.id).await.expect("moved");

        let (from_now, to_now) = (site.reload_article(from.id).await, site.reload_article(to.id).await);
        assert!(from_now.updated_at > from.updated_at && to_now.updated_at > to.updated_at);
        site.is_gone("the old parent", &from_now).await;
        site.is_gone("the new parent", &to_now).await;
    }

    async fn a_stale_copy_in_hand_still_sweeps_the_current_parent(site: &Site<impl Orm>) {
        let (old, new) = (site.article("old").await, site.article("new").await);
        let copy = site.comment(&old, None).await;
        site.write().move_comment(&copy, new.id).await.expect("moved");
        let before = site.reload_article(new.id).await;
        site.fill(&before).await;

        // This copy still says that the comment is below `old`.
        site.write().edit_comment(&copy, "edited").await.expect("updated");

        let after = site.reload_article(new.id).await;
        assert!(after.updated_at > before.updated_at, "the current parent was touched");
        site.is_gone("the current parent", &after).await;
    }

    async fn an_update_by_key_sweeps_the_parents_that_the_row_has(site: &Site<impl Orm>) {
        let article = site.article("partial").await;
        let comment = site.comment(&article, None).await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.write().edit_comment_by_key(comment.id, "edited").await.expect("updated");
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at, "the article was touched");
        site.is_gone("the comment", &comment).await;
    }

    async fn saves_of_one_row_at_the_same_time_each_touch_its_parent(site: &Site<impl Orm>) {
        let article = site.article("crowd").await;
        let comment = site.comment(&article, None).await;
        for round in 0..5 {
            let before = site.reload_article(article.id).await;
            site.fill(&before).await;
            site.at_once(3, async |writer| {
                site.write().edit_comment(&comment, &format!("{writer} {round}")).await.expect("updated");
                // Whatever the others do: after this save, a fragment of the article from before it is gone.
                assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
            });
            site.is_gone("the article", &site.reload_article(article.id).await).await;
        }
        let key = comment.record_key();
        site.fill(&key).await;
        site.vote(&comment, "ada").await;
        site.is_gone("the comment: no hold was left behind", &key).await;
    }

    async fn a_delete_sweeps_though_only_the_key_is_given(site: &Site<impl Orm>) {
        let article = site.article("deletes").await;
        let comment = site.comment(&article, None).await;
        let vote = site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;

        site.write().delete_vote_by_key(vote.id).await.expect("deleted");

        site.is_gone("the comment", &comment).await;
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at);
        let vote = site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        site.write().delete_vote(&vote).await.expect("deleted, in hand");
        site.is_gone("the comment", &comment).await;
        assert_eq!(site.votes().await, 0);
    }

    async fn an_update_of_skipped_columns_sweeps_nothing(site: &Site<impl Orm>) {
        let article = site.article("idle").await;
        let comment = site.comment(&article, None).await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.fill(&before).await;
        let (trips, _) = site
            .round_trips(async {
                site.write().view_comment(&comment, 7).await.expect("a skipped column was updated");
                site.write().view_article(&before, 7).await.expect("a skipped column was updated");
            })
            .await;
        assert_eq!(trips, 0);
        site.survives("the comment", &comment).await;
        let after = site.reload_article(article.id).await;
        assert_eq!((after.updated_at, after.views), (before.updated_at, 7));
        site.survives("the article, whose row differs in a skipped column only", &after).await;
    }

    async fn a_statement_that_fails_leaves_no_hold_behind(site: &Site<impl Orm>) {
        let article = site.article("duplicates").await;
        let comment = site.comment(&article, None).await;
        site.vote(&comment, "ada").await;
        let before = site.reload_article(article.id).await;
        site.fill(&comment).await;
        site.write().insert_vote(comment.id, "ada").await.expect_err("a second vote is refused");
        assert_ne!(site.probe(&comment).await.outcome().word(), "bypass", "no hold was left behind");
        assert_eq!(site.reload_article(article.id).await.updated_at, before.updated_at);
        site.fill(&comment).await;
        site.vote(&comment, "bob").await;
        site.is_gone("the comment", &comment).await;
    }

    async fn text_keys_and_composite_keys_are_followed(site: &Site<impl Orm>) {
        let article = site.article("labels").await;
        let tag = site.write().insert_tag("Rust, safe").await.expect("a tag");
        site.fill(&tag).await;
        let name = if site.backend == Backend::MySql { "RUST, SAFE" } else { "Rust, safe" };
        let label = site.write().insert_label(article.id, name).await.expect("a label");
        site.is_gone("the tag, however the label spells it", &tag).await;
        assert_eq!(label.record_key().id().collect::<Vec<_>>(), [article.id.to_string(), name.into()]);
        site.fill(&label).await;
        let label = site.write().weigh_label(&label, 2).await.expect("updated");
        site.is_gone("the label", &label.record_key()).await;
        site.is_gone("the tag", &tag).await;
    }

    async fn bulk_writes_sweep_what_they_changed(site: &Site<impl Orm>) {
        let (article, other) = (site.article("bulk").await, site.article("other").await);
        let before = site.reload_article(article.id).await;
        let comments = site.write().insert_comments(article.id, 5).await.expect("inserted");
        assert_eq!(comments.len(), 5);
        assert!(site.reload_article(article.id).await.updated_at > before.updated_at, "the parent was touched");
        let elsewhere = site.comment(&other, None).await;
        for comment in &comments {
            site.fill(&comment.record_key()).await;
        }
        site.fill(&elsewhere.record_key()).await;
        let (before, other_before) = (site.reload_article(article.id).await, site.reload_article(other.id).await);

        assert_eq!(site.write().move_comments_up_to(comments[2].id, other.id).await.expect("moved"), 3);
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

        let before = site.reload_article(article.id).await;
        site.fill(&before).await;
        assert_eq!(site.write().retitle_articles("bulk").await.expect("renamed"), 2);
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > before.updated_at, "its own version rises too");
        site.is_gone("the article, whose title is the same again", &after).await;

        assert_eq!(site.write().delete_comments_of(article.id).await.expect("deleted"), 2);
        site.is_gone("a deleted comment", &comments[4].record_key()).await;
        assert!(site.reload_article(article.id).await.updated_at > after.updated_at, "the parent was touched");
    }

    async fn records_are_invalidated_by_hand_with_their_parents(site: &Site<impl Orm>) {
        let article = site.article("by hand").await;
        let comment = site.comment(&article, None).await;
        let vote = site.vote(&comment, "ada").await;
        site.fill(&comment).await;
        let before = site.reload_article(article.id).await;
        site.invalidate(&vote).await.expect("invalidated");
        site.is_gone("the comment", &comment).await;
        let after = site.reload_article(article.id).await;
        assert!(after.updated_at > before.updated_at);
        site.invalidate(&after).await.expect("invalidated");
        assert!(site.reload_article(article.id).await.updated_at > after.updated_at, "a timestamp record is invalidated by touching it");
    }

    async fn a_tree_deeper_than_its_bound_invalidates_the_whole_entity(site: &Site<impl Orm>) {
        let article = site.article("deep").await;
        let mut comments = vec![site.comment(&article, None).await];
        for _ in 0..12 {
            let parent = comments[comments.len() - 1].id;
            comments.push(site.write().insert_comment(None, Some(parent)).await.expect("a comment"));
        }
        let (root, leaf) = (&comments[0], &comments[12]);
        let article = site.reload_article(article.id).await;
        site.fill(root).await;
        site.fill(&article).await;
        let before = site.stats().depth_exceeded;
        site.vote(leaf, "ada").await;
        assert!(site.stats().depth_exceeded > before);
        site.is_gone("the root, beyond the bound", root).await;
        site.is_gone("the article above it", &site.reload_article(article.id).await).await;
    }
}
