//! Both ORMs in one program, on one database and one store: a write through either is seen by the other's fragments.

use cachesweeper_core::{Dependencies, Dependency, blocking};
use cachesweeper_tests::database::unique;
use cachesweeper_tests::orm::Comment;
use cachesweeper_tests::site::quick;
use cachesweeper_tests::{Backend, Database, Diesel, Orm, Placement, SeaOrm, Site, Writer as _};

/// The same site, once with each ORM. `None` if its servers are not there.
async fn open(backend: Backend, placement: Placement) -> Option<(Site<SeaOrm>, Site<Diesel>)> {
    let servers = placement.servers()?;
    let database = Database::with_site(backend)?;
    let namespace = unique("both");
    let (sea, diesel) = if servers.is_empty() {
        // The memory store is one program's, so the two are the faces of one sweeper.
        let sea = SeaOrm::build(quick(SeaOrm::builder()).namespace(&namespace).memory(16 << 20));
        let diesel = sea.blocking().expect("the memory store serves both faces");
        (sea, diesel)
    } else {
        let sea = SeaOrm::build(quick(SeaOrm::builder()).namespace(&namespace).memcached(servers.clone()));
        (sea, Diesel::build(quick(blocking::Sweeper::builder()).namespace(&namespace).memcached(servers)))
    };
    let sea = Site { orm: SeaOrm::open(&database, sea, false).await, backend, placement, database: database.clone() };
    let diesel = Site { orm: Diesel::open(&database, diesel, true).await, backend, placement, database };
    sea.warm_up().await;
    diesel.warm_up().await;
    Some((sea, diesel))
}

/// Fills with one, writes with the other, and looks with both.
async fn writes_are_seen<R: Orm, W: Orm>(reader: &Site<R>, writer: &Site<W>) {
    let article = reader.article("shared").await;
    let other = reader.article("other").await;
    let comment = reader.comment(&article, None).await;
    let elsewhere = reader.comment(&other, None).await;
    let key = comment.record_key();
    assert_eq!(key, writer.comment_key(comment.id), "one row has one name");
    let written = writer.reload_comment(comment.id).await;
    assert_eq!((written.id, written.article_id, &written.body), (comment.id, comment.article_id, &comment.body));

    // A fragment is one fragment, whoever fills it.
    reader.fill(&key).await;
    writer.survives("what the other stored", &key).await;

    let fill = async |on: &dyn Dependencies| {
        reader.fill(&on).await;
    };
    let article = reader.reload_article(article.id).await;
    let elsewhere_key = elsewhere.record_key();
    fill(&key).await;
    fill(&comment).await;
    fill(&article).await;
    fill(&reader.articles()).await;
    fill(&elsewhere_key).await;
    writer.vote(&written, "ada").await;
    reader.is_gone("the comment by key", &key).await;
    reader.is_gone("the comment's row", &comment).await;
    let touched = reader.reload_article(article.id).await;
    assert!(touched.updated_at > article.updated_at, "the article was touched");
    reader.is_gone("the article", &touched).await;
    reader.is_gone("the collection", reader.articles()).await;
    reader.survives("another comment", &elsewhere_key).await;
    assert_eq!(writer.reload_article(article.id).await.updated_at, touched.updated_at, "both read the same version");

    // An update, a move, a delete, and a transaction.
    let gone_after = async |what: &str, on: &Comment, articles: &[i64]| {
        reader.is_gone(what, on.record_key()).await;
        for id in articles {
            let now = reader.reload_article(*id).await;
            reader.is_not_served(what, &now).await;
        }
    };
    for id in [article.id, other.id] {
        reader.fill(&reader.reload_article(id).await).await;
    }
    reader.fill(&key).await;
    writer.write().edit_comment(&written, "edited").await.expect("updated");
    gone_after("an update", &comment, &[article.id]).await;
    reader.fill(&key).await;
    writer.write().move_comment(&written, other.id).await.expect("moved");
    gone_after("a move", &comment, &[article.id, other.id]).await;
    let vote = writer.orm.load_votes().await.pop().expect("the vote");
    reader.fill(&key).await;
    writer.write().delete_vote(&vote).await.expect("deleted");
    gone_after("a delete", &comment, &[other.id]).await;

    reader.fill(&key).await;
    writer
        .transaction(async |txn| {
            txn.insert_vote(comment.id, "bob").await?;
            // Nobody waits for this transaction: until its commit others are served what was there before it.
            let elsewhere = reader.orm.probe_elsewhere(vec![Dependency { record: key.clone(), row: None }]).await;
            assert_eq!(elsewhere.word(), "hit");
            txn.edit_comment_by_key(comment.id, "in a transaction").await
        })
        .await
        .expect("committed");
    gone_after("a transaction", &comment, &[other.id]).await;
    reader.close();
    writer.close();
}

macro_rules! both {
    ($($name:ident $backend:ident $placement:ident;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn seaorm_reads_what_diesel_writes() {
                if let Some((sea, diesel)) = open(Backend::$backend, Placement::$placement).await {
                    writes_are_seen(&sea, &diesel).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn diesel_reads_what_seaorm_writes() {
                if let Some((sea, diesel)) = open(Backend::$backend, Placement::$placement).await {
                    writes_are_seen(&diesel, &sea).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn versions_rise_whoever_writes() {
                if let Some((sea, diesel)) = open(Backend::$backend, Placement::$placement).await {
                    versions_rise(&sea, &diesel).await;
                }
            }
        }
    )*};
}

/// The two write in turns, and at once: to both a version of an article is what the other made of it.
async fn versions_rise(sea: &Site<SeaOrm>, diesel: &Site<Diesel>) {
    let article = sea.article("turns").await;
    let comment = diesel.comment(&article, None).await;
    let mut last = sea.reload_article(article.id).await.updated_at;
    for round in 0..10 {
        if round % 2 == 0 {
            sea.vote(&comment, &format!("sea {round}")).await;
        } else {
            diesel.vote(&comment, &format!("diesel {round}")).await;
        }
        let (of_sea, of_diesel) = (sea.reload_article(article.id).await.updated_at, diesel.reload_article(article.id).await.updated_at);
        assert!(of_sea == of_diesel && of_sea > last, "round {round}: {of_sea} and {of_diesel} after {last}");
        last = of_sea;
    }
    sea.at_once(4, async |writer| {
        for round in 0..10 {
            let voter = format!("at once {writer} {round}");
            let before = sea.reload_article(article.id).await.updated_at;
            if writer % 2 == 0 {
                sea.vote(&comment, &voter).await;
            } else {
                diesel.vote(&comment, &voter).await;
            }
            assert!(sea.reload_article(article.id).await.updated_at > before);
        }
    });
    assert_eq!(sea.votes().await, 50);
    let key = comment.record_key();
    sea.fill(&key).await;
    diesel.vote(&comment, "last").await;
    sea.is_gone("the comment: no hold was left behind", &key).await;
}

both! {
    sqlite_memory Sqlite Memory;
    sqlite_memcached Sqlite One;
    postgres_memory Postgres Memory;
    postgres_memcached Postgres One;
    mysql_memory MySql Memory;
    mysql_memcached MySql One;
    postgres_two_memcached Postgres Two;
}
