//! Everything that a web handler awaits can be awaited in a spawned task: the futures are `Send`.

use cachesweeper_seaorm::{ExecAndSweep, SweepTransaction, insert_many_and_sweep};
use cachesweeper_tests::orm::seaorm::entity::{article, comment};
use cachesweeper_tests::orm::seaorm::{new_comment, new_vote};
use cachesweeper_tests::{Backend, Placement, SeaOrm, Site};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, DbErr, EntityTrait, TransactionTrait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_can_be_spawned() {
    let site = Site::<SeaOrm>::open(Backend::Sqlite, Placement::Memory).await.expect("SQLite and memory are always there");
    let article = site.article("spawned").await;
    for _ in 0..2 {
        site.comment(&article, None).await;
    }
    let (db, sweeper) = (site.orm.db.clone(), site.orm.sweeper.clone());
    let handler = tokio::spawn(async move {
        let page = sweeper.page();
        let article = article::Entity::find_by_id(article.id).one(&db).await.expect("a query").expect("the article");
        let comments = comment::Entity::find().all(&db).await.expect("the comments");
        page.prefetch(&comments, "comment.html").await.expect("prefetched");
        let (db_inside, rows) = (&db, &comments);
        let outer = sweeper.fragment(&article, "article.html").vary("de").vary(7).get_or_render(async || {
            let pieces = sweeper.fragments(rows, "comment.html").get_or_render(async |missing: &[&comment::Model]| {
                let all = comment::Entity::find().all(db_inside).await?;
                Ok::<_, DbErr>(missing.iter().map(|row| format!("{} of {}", row.id, all.len())).collect())
            });
            let pieces: Vec<String> = pieces.await?.into_iter().map(String::from).collect();
            Ok::<_, DbErr>(pieces.concat())
        });
        let html = outer.await.expect("rendered");
        new_vote(comments[0].id, "ada").insert(&db).await.expect("a vote");
        db.transaction_async(async |txn: &SweepTransaction| new_vote(comments[0].id, "bob").insert(txn).await).await.expect("committed");
        db.transaction::<_, (), DbErr>(|txn| {
            Box::pin(async move {
                comment::Entity::find().all(txn).await?;
                Ok(())
            })
        })
        .await
        .expect("committed");
        insert_many_and_sweep([new_comment(Some(article.id), None)], &db).await.expect("inserted");
        comment::Entity::update_many().col_expr(comment::Column::Body, Expr::value("same")).exec_and_sweep(&db).await.expect("updated");
        sweeper.invalidate((&article, &comments)).await.expect("invalidated");
        page.finish().await;
        html
    });
    assert!(handler.await.expect("joined").contains(" of 2"));
}
