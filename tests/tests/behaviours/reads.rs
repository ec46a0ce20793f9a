//! A fragment is stored only if its tokens were read before its data were.

use cachesweeper_tests::behaviours;

behaviours! {
    async fn what_was_rendered_from_data_that_a_write_overtook_is_not_served(site: &Site<impl Orm>) {
        let article = site.article("overtaken").await;
        let comment = site.comment(&article, None).await;
        let page = async |late: Option<&str>| {
            site.orm
                .render(&comment, "votes", async || {
                    let loaded = site.votes().await;
                    // A write that commits between the load and the end of the render.
                    if let Some(voter) = late {
                        site.vote(&comment, voter).await;
                    }
                    loaded.to_string()
                })
                .await
        };
        for voter in ["ada", "bob", "cyn"] {
            let before = site.votes().await;
            assert_eq!(page(Some(voter)).await, before.to_string(), "rendered from what was loaded");
            let shown = page(None).await;
            assert_eq!((shown.outcome().word(), shown.as_str()), ("miss", (before + 1).to_string().as_str()));
            assert_eq!(page(None).await.outcome().word(), "hit");
            // So that the next round renders.
            site.vote(&comment, &format!("{voter} again")).await;
        }
    }

    async fn a_fragment_is_served_to_others_and_back(site: &Site<impl Orm>) {
        let article = site.article("others").await;
        let comment = site.comment(&article, None).await;
        let elsewhere = async || site.orm.probe_elsewhere(vec![comment.on.clone()]).await.word();
        assert_eq!(elsewhere().await, "miss");
        site.survives("what another task stored", &comment).await;
        site.vote(&comment, "ada").await;
        assert_eq!(elsewhere().await, "miss", "the write is seen there too");
        site.survives("what another task stored", &comment).await;
    }
}
