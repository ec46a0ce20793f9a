//! The site with SeaORM.

pub mod entity;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cachesweeper_seaorm::{Builder, CacheSweep, Dependencies, Dependency, Outcome, RecordKey, Rendered, Stats, SweepConnection, Sweeper};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, Set, TransactionError, TransactionTrait};
use tokio::sync::Mutex;

use self::entity::{article, coarse, comment, vote};
pub use self::writer::{On, SeaWriter};
use super::{Article, Coarse, Comment, Failed, Orm, Result, Vote};
use crate::database::{Backend, Database};

/// The installed sweeper is the program's, so who needs it takes turns.
pub static INSTALLED: Mutex<()> = Mutex::const_new(());

impl From<DbErr> for Failed {
    fn from(error: DbErr) -> Self {
        Self(error.to_string())
    }
}

impl From<TransactionError<Failed>> for Failed {
    fn from(error: TransactionError<Failed>) -> Self {
        match error {
            TransactionError::Connection(error) => error.into(),
            TransactionError::Transaction(failed) => failed,
        }
    }
}

/// SeaORM, through a wrapped connection.
#[derive(Debug)]
pub struct SeaOrm {
    /// The wrapped connection.
    pub db: SweepConnection,
    /// The sweeper.
    pub sweeper: Sweeper,
    statements: Arc<AtomicUsize>,
}

/// Connects to it.
pub async fn connect(database: &Database) -> DatabaseConnection {
    let (url, schema) = database.sqlx_url();
    let mut options = ConnectOptions::new(url);
    options.max_connections(4).sqlx_logging(false).connect_timeout(Duration::from_secs(20));
    if let Some(schema) = schema {
        options.set_schema_search_path(schema);
    }
    let url = options.get_url().to_owned();
    let db = sea_orm::Database::connect(options).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    if database.backend == Backend::Sqlite {
        db.execute_unprepared("PRAGMA synchronous = OFF").await.expect("the pragma");
    }
    db
}

impl Orm for SeaOrm {
    type Sweeper = Sweeper;
    type Writer<'w> = SeaWriter<'w>;

    /// Before and after the save.
    const PLAIN_MARKS: u64 = 2;

    fn builder() -> Builder<Sweeper> {
        Sweeper::builder()
    }

    fn build(builder: Builder<Sweeper>) -> Sweeper {
        builder.build().expect("a sweeper")
    }

    /// SeaORM's hooks see every save, so there is nothing to watch.
    async fn open(database: &Database, sweeper: Sweeper, _: bool) -> Self {
        let mut db = connect(database).await;
        let statements = Arc::new(AtomicUsize::new(0));
        let count = statements.clone();
        // It is not called for BEGIN and COMMIT.
        db.set_metric_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        Self { db: SweepConnection::new(db, sweeper.clone()), sweeper, statements }
    }

    fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    fn stats(&self) -> Stats {
        self.sweeper.stats()
    }

    fn statements(&self) -> usize {
        self.statements.load(Ordering::SeqCst)
    }

    /// Ancestors, touch (SQLite reads first), ancestors again.
    fn commit_statements(backend: Backend) -> usize {
        if backend == Backend::Sqlite { 4 } else { 3 }
    }

    fn writer(&self) -> SeaWriter<'_> {
        SeaWriter { sweeper: &self.sweeper, on: On::Connection(&self.db) }
    }

    async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut SeaWriter<'_>) -> Result<T>) -> Result<T> {
        Ok(self.db.transaction_async(async |txn| work(&mut SeaWriter { sweeper: &self.sweeper, on: On::Transaction(txn) }).await).await?)
    }

    async fn plain_transaction<T>(&self, work: impl AsyncFnOnce(&mut SeaWriter<'_>) -> Result<T>) -> Result<T> {
        // SeaORM's own transaction knows no sweeper.
        let _alone = INSTALLED.lock().await;
        self.sweeper.install();
        let txn = self.db.inner().begin().await?;
        let done = work(&mut SeaWriter { sweeper: &self.sweeper, on: On::PlainTransaction(&txn) }).await;
        match &done {
            Ok(_) => txn.commit().await?,
            Err(_) => txn.rollback().await?,
        }
        done
    }

    async fn render(&self, on: impl Dependencies, name: &str, body: impl AsyncFnOnce() -> String) -> Rendered {
        let rendered = self.sweeper.fragment(on, name).get_or_render(async || Ok::<_, Infallible>(body().await)).await;
        rendered.unwrap_or_else(|never| match never {})
    }

    async fn probe_elsewhere(&self, on: Vec<Dependency>) -> Outcome {
        let sweeper = self.sweeper.clone();
        let probe = tokio::spawn(async move {
            let rendered = sweeper.fragment(&on, "probe").get_or_render(async || Ok::<_, Infallible>("probe")).await;
            rendered.unwrap_or_else(|never| match never {}).outcome()
        });
        probe.await.expect("joined")
    }

    async fn load_article(&self, id: i64) -> Article {
        article::Entity::find_by_id(id).one(&self.db).await.expect("a query").expect("the article").into()
    }

    async fn load_comment(&self, id: i64) -> Comment {
        comment::Entity::find_by_id(id).one(&self.db).await.expect("a query").expect("the comment").into()
    }

    async fn load_votes(&self) -> Vec<Vote> {
        vote::Entity::find().all(&self.db).await.expect("a query").into_iter().map(Into::into).collect()
    }

    async fn load_coarse(&self, id: i64) -> Coarse {
        coarse::Entity::find_by_id(id).one(&self.db).await.expect("a query").expect("the row").into()
    }

    fn comment_key(id: i64) -> RecordKey {
        comment::Model::key(id)
    }

    fn articles() -> RecordKey {
        article::Model::collection()
    }
}

/// A comment to be saved.
pub fn new_comment(article_id: Option<i64>, parent_id: Option<i64>) -> comment::ActiveModel {
    comment::ActiveModel {
        article_id: Set(article_id),
        parent_id: Set(parent_id),
        body: Set("first".into()),
        views: Set(0),
        ..Default::default()
    }
}

/// A vote to be saved.
pub fn new_vote(comment: i64, voter: &str) -> vote::ActiveModel {
    vote::ActiveModel { comment_id: Set(comment), voter: Set(voter.into()), ..Default::default() }
}
