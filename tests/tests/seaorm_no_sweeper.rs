//! A program of its own, in which no sweeper is installed.

use cachesweeper_tests::orm::seaorm::new_comment;
use cachesweeper_tests::{Backend, Placement, SeaOrm, Site};
use sea_orm::ActiveModelTrait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_that_nobody_would_hear_of_is_refused_and_says_what_to_do() {
    let site = Site::<SeaOrm>::open(Backend::Sqlite, Placement::Memory).await.expect("SQLite and memory are always there");
    let refused = new_comment(None, None).insert(site.orm.db.inner()).await.expect_err("refused").to_string();
    for part in ["`comment`", "SweepConnection::new", "sweeper.install()", "nothing was written"] {
        assert!(refused.contains(part), "{part} is not in: {refused}");
    }
    new_comment(None, None).insert(&site.orm.db).await.expect("a wrapped connection knows its sweeper");
}
