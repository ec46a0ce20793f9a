//! A site under test: a database, a store, a sweeper, and probes for what is cached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cachesweeper_seaorm::{Builder, CacheSweep, Dependencies, RecordKey, Rendered, SweepConnection, Sweeper};
use chrono::Utc;
use sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, Set};
use tempfile::TempDir;

use crate::database::{Backend, fresh, unique};
use crate::entity::{article, comment, vote};
use crate::memcached::Placement;

/// A site under test.
#[derive(Debug)]
pub struct Site {
    /// The wrapped connection.
    pub db: SweepConnection,
    /// The sweeper.
    pub sweeper: Sweeper,
    /// Where it runs.
    pub backend: Backend,
    /// Where it keeps its fragments.
    pub placement: Placement,
    statements: Arc<AtomicUsize>,
    _folder: Option<TempDir>,
}

/// Short holds, so that a new namespace's quarantine is over soon.
pub fn quick(builder: Builder<Sweeper>) -> Builder<Sweeper> {
    builder
        .namespace(unique("ns"))
        .hold(Duration::from_millis(700))
        .plain_hold(Duration::from_millis(700))
        .max_clock_skew(Duration::from_millis(20))
        .retry_interval(Duration::from_millis(100))
}

impl Site {
    /// Opens a site; `None` if its servers are not there.
    pub async fn open(backend: Backend, placement: Placement) -> Option<Self> {
        Self::open_with(backend, placement, |builder| builder).await
    }

    /// Opens a site with further settings.
    pub async fn open_with(
        backend: Backend,
        placement: Placement,
        settings: impl FnOnce(Builder<Sweeper>) -> Builder<Sweeper>,
    ) -> Option<Self> {
        let servers = placement.servers()?;
        let (db, folder) = fresh(backend).await?;
        let builder = quick(Sweeper::builder());
        let builder = if servers.is_empty() { builder.memory(16 << 20) } else { builder.memcached(servers) };
        let sweeper = settings(builder).build().expect("a sweeper");
        Some(Self::over(db, sweeper, backend, placement, folder).await)
    }

    async fn over(mut db: DatabaseConnection, sweeper: Sweeper, backend: Backend, placement: Placement, folder: Option<TempDir>) -> Self {
        let statements = Arc::new(AtomicUsize::new(0));
        let count = statements.clone();
        db.set_metric_callback(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let site = Self { db: SweepConnection::new(db, sweeper.clone()), sweeper, backend, placement, statements, _folder: folder };
        site.warm_up().await;
        site
    }

    /// Waits until the store's quarantine is over.
    pub async fn warm_up(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        for id in 0..16 {
            // Enough keys to reach every node.
            while self.probe_key(&RecordKey::new("warmup", id)).await != "hit" {
                assert!(Instant::now() < until, "the store never became usable: {:?}", self.sweeper.stats());
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    }

    async fn probe_key(&self, key: &RecordKey) -> &'static str {
        self.probe(key).await.outcome().word()
    }

    /// Looks the fragment `probe` of these dependencies up, filling it.
    pub async fn probe(&self, on: impl Dependencies) -> Rendered {
        let fragment = self.sweeper.fragment(on, "probe");
        fragment.get_or_render(async || Ok::<_, std::convert::Infallible>("probe")).await.unwrap_or_else(|never| match never {})
    }

    /// Fills the fragment of these dependencies, so that only an invalidation can make it a miss.
    pub async fn fill(&self, on: impl Dependencies) {
        self.probe(&on).await;
        assert_eq!(self.probe(&on).await.outcome().word(), "hit", "a filled fragment is served");
    }

    /// Asserts that the fragment is still there.
    pub async fn survives(&self, what: &str, on: impl Dependencies) {
        assert_eq!(self.probe(on).await.outcome().word(), "hit", "{what} should have survived");
    }

    /// Asserts that the fragment is gone, and can be filled again at once: no hold was left behind.
    pub async fn is_gone(&self, what: &str, on: impl Dependencies) {
        assert_eq!(self.probe(&on).await.outcome().word(), "miss", "{what} should have been invalidated, and not be held");
        self.survives(what, on).await;
    }

    /// Asserts that the fragment is not served from the cache, for whatever reason.
    pub async fn is_not_served(&self, what: &str, on: impl Dependencies) {
        assert_ne!(self.probe(on).await.outcome().word(), "hit", "{what} was served from the cache");
    }

    /// Statements sent to the database by `f` (BEGIN and COMMIT are not counted by SeaORM).
    pub async fn statements<T>(&self, f: impl Future<Output = T>) -> (usize, T) {
        let before = self.statements.load(Ordering::SeqCst);
        let value = f.await;
        (self.statements.load(Ordering::SeqCst) - before, value)
    }

    /// Store batches sent by `f`.
    pub async fn round_trips<T>(&self, f: impl Future<Output = T>) -> (u64, T) {
        let before = self.sweeper.stats().round_trips;
        let value = f.await;
        (self.sweeper.stats().round_trips - before, value)
    }

    /// A saved article.
    pub async fn article(&self, title: &str) -> article::Model {
        let article = article::ActiveModel { title: Set(title.into()), views: Set(0), updated_at: Set(Utc::now()), ..Default::default() };
        self.reload_article(article.insert(&self.db).await.expect("an article").id).await
    }

    /// An article as the database has it now.
    pub async fn reload_article(&self, id: i64) -> article::Model {
        article::Entity::find_by_id(id).one(&self.db).await.expect("a query").expect("the article")
    }

    /// A saved comment.
    pub async fn comment(&self, article: &article::Model, parent: Option<&comment::Model>) -> comment::Model {
        new_comment(Some(article.id), parent.map(|parent| parent.id)).insert(&self.db).await.expect("a comment")
    }

    /// A comment as the database has it now.
    pub async fn reload_comment(&self, id: i64) -> comment::Model {
        comment::Entity::find_by_id(id).one(&self.db).await.expect("a query").expect("the comment")
    }

    /// A saved vote.
    pub async fn vote(&self, comment: &comment::Model, voter: &str) -> vote::Model {
        new_vote(comment, voter).insert(&self.db).await.expect("a vote")
    }

    /// The key of a row.
    pub fn key<T: CacheSweep>(&self, row: &T) -> RecordKey {
        row.record_key()
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
pub fn new_vote(comment: &comment::Model, voter: &str) -> vote::ActiveModel {
    vote::ActiveModel { comment_id: Set(comment.id), voter: Set(voter.into()), ..Default::default() }
}
