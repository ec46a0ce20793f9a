//! A store that is down: no page fails, nothing old is shown when it is back, and the policy decides about writes.

use std::time::{Duration, Instant};

use cachesweeper_core::Policy;
use cachesweeper_tests::{Backend, Diesel, Memcached, Orm, Placement, SeaOrm, Site, Writer as _};

/// A site on a memcached of its own. `None` if there is none to start, or no such database.
async fn open<O: Orm>(backend: Backend, policy: Policy) -> Option<(Memcached, Site<O>)> {
    let server = Memcached::start(&[])?;
    let address = server.address();
    let site = Site::open_with(backend, Placement::Memory, |builder| builder.memcached([address]).policy(policy)).await?;
    Some((server, site))
}

async fn a_store_that_dies_fails_no_write_and_no_page_and_shows_nothing_old_when_it_is_back<O: Orm>(backend: Backend) {
    let Some((mut server, site)) = open::<O>(backend, Policy::Proceed).await else { return };
    let article = site.article("outage").await;
    let comment = site.comment(&article, None).await;
    let votes = async || site.votes().await.to_string();
    let page = async || site.orm.render(&comment, "votes", async || votes().await).await;
    page().await;
    for round in 0..3 {
        server.kill();
        for voter in 0..5 {
            site.vote(&comment, &format!("{round} {voter}")).await;
            assert_eq!(*page().await, *votes().await, "without the store, pages are rendered");
        }
        server.restart();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = page().await;
            assert_eq!(*shown, *votes().await, "{:?}", shown.outcome());
            if shown.outcome().word() == "hit" {
                break;
            }
            assert!(Instant::now() < until, "{:?}", site.stats());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let stats = site.stats();
    assert!(stats.marks_failed > 0 && stats.bypasses_node_down > 0, "{stats:?}");
}

async fn under_abort_a_write_is_refused_and_rolled_back_while_the_store_is_down<O: Orm>(backend: Backend) {
    let Some((mut server, site)) = open::<O>(backend, Policy::Abort).await else { return };
    let article = site.article("abort").await;
    let comment = site.comment(&article, None).await;
    let before = site.reload_article(article.id).await;
    server.kill();
    let single = site.write().insert_vote(comment.id, "ada").await.expect_err("refused").to_string();
    assert!(single.contains("rolled back") && single.contains("Proceed"), "{single}");
    let refused = site.transaction(async |txn| txn.insert_vote(comment.id, "bob").await).await.expect_err("refused").to_string();
    assert!(refused.contains("rolled back"), "{refused}");
    assert_eq!(site.votes().await, 0);
    assert_eq!(site.reload_article(article.id).await.updated_at, before.updated_at, "the touch was rolled back too");
    assert_eq!(site.stats().writes_refused, 2);
    server.restart();
    site.warm_up().await;
    site.fill(&comment).await;
    site.vote(&comment, "ada").await;
    site.is_gone("the comment, when the store is back", &comment).await;
}

macro_rules! outages {
    ($($orm:ident: $type:ty, [$($database:ident $backend:ident),*];)*) => {$(
        mod $orm {
            use super::*;
            outages!(@each a_store_that_dies_fails_no_write_and_no_page_and_shows_nothing_old_when_it_is_back,
                $type, $($database $backend),*);
            outages!(@each under_abort_a_write_is_refused_and_rolled_back_while_the_store_is_down, $type, $($database $backend),*);
        }
    )*};
    (@each $name:ident, $type:ty, $($database:ident $backend:ident),*) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $database() {
                    super::super::$name::<$type>(Backend::$backend).await;
                }
            )*
        }
    };
}

outages! {
    seaorm: SeaOrm, [sqlite Sqlite, postgres Postgres, mysql MySql];
    diesel: Diesel, [sqlite Sqlite, postgres Postgres, mysql MySql];
}
