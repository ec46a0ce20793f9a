//! A site under test: a database, a store, a sweeper, and probes for what is cached.

use std::time::{Duration, Instant};

use cachesweeper_core::{Builder, Dependencies, RecordKey, Rendered, Stats};

use crate::database::{Backend, Database};
use crate::memcached::Placement;
use crate::namespace;
use crate::orm::{Article, Comment, Orm, Result, Vote, Writer};

/// A site under test.
#[derive(Debug)]
pub struct Site<O> {
    /// The ORM, with its connections and its sweeper.
    pub orm: O,
    /// Where it runs.
    pub backend: Backend,
    /// Where it keeps its fragments.
    pub placement: Placement,
    /// The database.
    pub database: Database,
}

/// Short holds, so that a new namespace's quarantine is over soon.
pub fn quick<S>(builder: Builder<S>) -> Builder<S> {
    builder
        .hold(Duration::from_millis(700))
        .plain_hold(Duration::from_millis(700))
        .max_clock_skew(Duration::from_millis(20))
        .retry_interval(Duration::from_millis(100))
}

impl<O: Orm> Site<O> {
    /// Opens a site; `None` if its servers are not there.
    pub async fn open(backend: Backend, placement: Placement) -> Option<Self> {
        Self::open_with(backend, placement, |builder| builder).await
    }

    /// Opens a site with further settings.
    pub async fn open_with(
        backend: Backend,
        placement: Placement,
        settings: impl FnOnce(Builder<O::Sweeper>) -> Builder<O::Sweeper>,
    ) -> Option<Self> {
        let servers = placement.servers()?;
        let database = Database::with_site(backend)?;
        let builder = quick(O::builder()).namespace(namespace::take(&servers));
        let builder = if servers.is_empty() { builder.memory(16 << 20) } else { builder.memcached(servers) };
        let sweeper = O::build(settings(builder));
        // Watched on one store, unwatched on the others: neither changes what is swept.
        let orm = O::open(&database, sweeper, placement == Placement::Memory).await;
        let site = Self { orm, backend, placement, database };
        site.warm_up().await;
        Some(site)
    }

    /// Waits until the store's quarantine is over.
    pub async fn warm_up(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        for id in 0..16 {
            // Enough keys to reach every node.
            while self.probe(&RecordKey::new("warmup", id)).await.outcome().word() != "hit" {
                assert!(Instant::now() < until, "the store never became usable: {:?}", self.orm.stats());
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    }

    /// What every behaviour ends with.
    pub fn close(&self) {
        assert_eq!(self.stats().writes_unswept, 0, "a write of the sweeper's own was taken for one that went past it");
    }

    /// What the sweeper has done.
    pub fn stats(&self) -> Stats {
        self.orm.stats()
    }

    /// Looks the fragment `probe` of these dependencies up, filling it.
    pub async fn probe(&self, on: impl Dependencies) -> Rendered {
        self.orm.render(on, "probe", async || "probe".to_owned()).await
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

    /// Waits until no hold is left on the fragment, which then is gone.
    pub async fn is_gone_when_its_hold_ends(&self, what: &str, on: impl Dependencies) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.probe(&on).await.outcome().word() {
                "miss" => return self.survives(what, on).await,
                "bypass" => assert!(Instant::now() < until, "{what} is held for ever"),
                word => panic!("{what}: {word}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Statements sent to the database by `f`, without those that begin and end transactions.
    pub async fn statements<T>(&self, f: impl Future<Output = T>) -> (usize, T) {
        let before = self.orm.statements();
        let value = f.await;
        (self.orm.statements() - before, value)
    }

    /// Store batches sent by `f`.
    pub async fn round_trips<T>(&self, f: impl Future<Output = T>) -> (u64, T) {
        let before = self.stats().round_trips;
        let value = f.await;
        (self.stats().round_trips - before, value)
    }

    /// Runs `work` on so many threads at once, and waits for all of them.
    pub fn at_once(&self, count: usize, work: impl AsyncFn(usize) + Sync) {
        let runtime = tokio::runtime::Handle::current();
        let (runtime, work) = (&runtime, &work);
        tokio::task::block_in_place(|| {
            std::thread::scope(|threads| {
                for number in 0..count {
                    threads.spawn(move || runtime.block_on(work(number)));
                }
            });
        });
    }

    /// A transaction of the sweeper's, committed if the closure returns `Ok`.
    pub async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut O::Writer<'_>) -> Result<T>) -> Result<T> {
        self.orm.transaction(work).await
    }

    /// Writes outside of transactions.
    pub fn write(&self) -> O::Writer<'_> {
        self.orm.writer()
    }

    /// Invalidates by hand.
    pub async fn invalidate(&self, on: impl Dependencies) -> Result<()> {
        self.write().invalidate(on).await
    }

    /// The key of a comment that need not be loaded.
    pub fn comment_key(&self, id: i64) -> RecordKey {
        O::comment_key(id)
    }

    /// The collection of articles.
    pub fn articles(&self) -> RecordKey {
        O::articles()
    }

    /// A saved article.
    pub async fn article(&self, title: &str) -> Article {
        let id = self.write().insert_article(title).await.expect("an article");
        self.reload_article(id).await
    }

    /// An article as the database has it now.
    pub async fn reload_article(&self, id: i64) -> Article {
        self.orm.load_article(id).await
    }

    /// A saved comment.
    pub async fn comment(&self, article: &Article, parent: Option<&Comment>) -> Comment {
        self.write().insert_comment(Some(article.id), parent.map(|parent| parent.id)).await.expect("a comment")
    }

    /// A comment as the database has it now.
    pub async fn reload_comment(&self, id: i64) -> Comment {
        self.orm.load_comment(id).await
    }

    /// A saved vote.
    pub async fn vote(&self, comment: &Comment, voter: &str) -> Vote {
        self.write().insert_vote(comment.id, voter).await.expect("a vote")
    }

    /// How many votes the database has.
    pub async fn votes(&self) -> usize {
        self.orm.load_votes().await.len()
    }
}
