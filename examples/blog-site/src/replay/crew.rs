//! Writers and readers at work.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use fastrand::Rng;
use indicatif::ProgressBar;
use tokio::task::{JoinError, JoinSet};

use super::audit::{Known, Ledger, Verdict};
use super::counts::counts;
use super::histogram::Histogram;
use super::schedule::{Popularity, Schedule};
use super::{Settings, progress};
use crate::site::{Mode, Page, Served, Site, SiteError, Write};
use crate::stories::Story;

/// One in this many pages that readers ask for is a front page.
const FRONT: u64 = 20;
/// How many articles' stale pages are described.
const DESCRIBED: usize = 5;

/// What readers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What visitors would.
    Chosen(Mode),
    /// Every story once, through the cache.
    Each,
}

/// Pages of one kind, and the queries they took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    pages: u64,
    pub(super) queries: u64,
}

impl Kind {
    /// The queries of these pages at the mean of `others`.
    pub(super) fn at(self, others: Self) -> u64 {
        (self.pages as f64 * others.queries as f64 / others.pages.max(1) as f64).round() as u64
    }
}

/// What readers have found.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) pages: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) bypasses: u64,
    pub(super) stale: u64,
    pub(super) unreadable: u64,
    pub(super) articles: Kind,
    pub(super) fronts: Kind,
    pub(super) latencies: Histogram,
    pub(super) seconds: f64,
}

impl Tally {
    fn add(&mut self, page: &Page, front: bool, latency: Duration) {
        self.pages += 1;
        *match page.served {
            Served::Hit => &mut self.hits,
            Served::Miss => &mut self.misses,
            Served::Bypass => &mut self.bypasses,
        } += 1;
        let kind = if front { &mut self.fronts } else { &mut self.articles };
        kind.pages += 1;
        kind.queries += page.queries;
        self.latencies.add(latency);
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.pages += other.pages;
        self.hits += other.hits;
        self.misses += other.misses;
        self.bypasses += other.bypasses;
        self.stale += other.stale;
        self.unreadable += other.unreadable;
        for (mine, theirs) in [(&mut self.articles, other.articles), (&mut self.fronts, other.fronts)] {
            mine.pages += theirs.pages;
            mine.queries += theirs.queries;
        }
        self.latencies.merge(&other.latencies);
        self.seconds = self.seconds.max(other.seconds);
    }
}

/// What writers have written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) writes: u64,
    pub(super) transactions: u64,
    pub(super) complete: bool,
}

/// What all writers and readers share.
pub(super) struct Crew<S> {
    site: Arc<S>,
    settings: Settings,
    stories: Vec<Story>,
    schedule: Schedule,
    popularity: Popularity,
    ledger: Ledger,
    /// The comments that each story is known to have.
    comments: Vec<Mutex<Vec<i64>>>,
    /// The next step of the schedule.
    next: AtomicUsize,
    writes: AtomicU64,
    transactions: AtomicU64,
    complete: AtomicBool,
    /// The articles whose stale pages have been described.
    described: Mutex<BTreeSet<i64>>,
}

/// When readers stop.
#[derive(Clone, Debug)]
struct Until {
    deadline: Option<Instant>,
    stop: Arc<AtomicBool>,
    /// The next story, for those who read each.
    next: Arc<AtomicUsize>,
}

impl Until {
    fn new(deadline: Option<Instant>) -> Self {
        Self { deadline, stop: Arc::default(), next: Arc::default() }
    }

    fn reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl<S: Site> Crew<S> {
    pub(super) fn new(site: Arc<S>, stories: Vec<Story>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            site,
            settings,
            schedule: Schedule::new(&stories, settings.seed),
            popularity: Popularity::new(&stories),
            ledger: Ledger::new(stories.iter().map(|story| story.id)),
            comments: stories.iter().map(|_| Mutex::default()).collect(),
            stories,
            next: AtomicUsize::new(0),
            writes: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            complete: AtomicBool::new(true),
            described: Mutex::default(),
        })
    }

    pub(super) fn stories(&self) -> usize {
        self.stories.len()
    }

    pub(super) fn written(&self) -> Written {
        Written {
            writes: self.writes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            complete: self.complete.load(Ordering::Relaxed),
        }
    }

    /// Writers write until all is written or the time is over; readers read as long.
    pub(super) async fn write_and_read(self: &Arc<Self>) -> Result<Tally, SiteError> {
        let bar = progress(self.schedule.writes() as u64, "replaying");
        let deadline = self.settings.limit.map(|limit| Instant::now() + limit);
        let until = Until::new(None);
        let mut readers = self.readers(Reading::Chosen(Mode::Cached), &until);
        let mut writers = JoinSet::new();
        for _ in 0..self.settings.writers {
            let (crew, bar) = (self.clone(), bar.clone());
            writers.spawn(async move { crew.write(deadline, &bar).await });
        }
        let mut written = Ok(());
        while let Some(result) = writers.join_next().await {
            // One that fails stops all: dropping the set does.
            written = flat(result);
            if written.is_err() {
                break;
            }
        }
        until.stop.store(true, Ordering::Relaxed);
        let read = all(&mut readers).await;
        bar.finish_and_clear();
        written.and(read)
    }

    /// Readers alone.
    pub(super) async fn read(self: &Arc<Self>, reading: Reading, time: Duration) -> Result<Tally, SiteError> {
        all(&mut self.readers(reading, &Until::new(Some(Instant::now() + time)))).await
    }

    fn readers(self: &Arc<Self>, reading: Reading, until: &Until) -> JoinSet<Result<Tally, SiteError>> {
        let mut readers = JoinSet::new();
        for number in 0..u64::from(self.settings.readers) {
            let (crew, until) = (self.clone(), until.clone());
            let rng = Rng::with_seed(self.settings.seed.wrapping_mul(1_000).wrapping_add(number));
            readers.spawn(async move { crew.reader(reading, &until, rng).await });
        }
        readers
    }

    // ---- writers --------------------------------------------------------------------------------------------------

    async fn write(&self, deadline: Option<Instant>, bar: &ProgressBar) -> Result<(), SiteError> {
        loop {
            let Some(step) = self.schedule.step(self.next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.complete.store(false, Ordering::Relaxed);
                return Ok(());
            }
            let article = self.stories[step.story].id;
            let writes = self.schedule.writes_of(step, &self.comments_of(step.story));
            let added = self.site.write(article, &writes, Utc::now()).await?;
            // The commit has returned: from here on every page that is asked for must show it.
            self.ledger.acknowledge(article, sum(&writes));
            self.comments_of(step.story).extend(added.comments);
            self.writes.fetch_add(writes.len() as u64, Ordering::Relaxed);
            self.transactions.fetch_add(1, Ordering::Relaxed);
            bar.inc(writes.len() as u64);
        }
    }

    fn comments_of(&self, story: usize) -> MutexGuard<'_, Vec<i64>> {
        self.comments[story].lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- readers --------------------------------------------------------------------------------------------------

    async fn reader(&self, reading: Reading, until: &Until, mut rng: Rng) -> Result<Tally, SiteError> {
        let (mut tally, began) = (Tally::default(), Instant::now());
        while !until.reached() {
            let story = match reading {
                Reading::Each => until.next.fetch_add(1, Ordering::Relaxed),
                Reading::Chosen(_) if rng.u64(..FRONT) == 0 => {
                    // The first page more often than all others together.
                    let last = self.stories.len().div_ceil(crate::STORIES_PER_PAGE).clamp(1, 5) as u64;
                    let number = if rng.bool() { 1 } else { rng.u64(1..=last) };
                    self.read_front(number, reading.mode(), &mut tally).await?;
                    continue;
                }
                Reading::Chosen(_) => self.popularity.choose(&mut rng),
            };
            let Some(story) = self.stories.get(story) else { break };
            self.read_article(story.id, reading.mode(), &mut tally).await?;
        }
        tally.seconds = began.elapsed().as_secs_f64();
        Ok(tally)
    }

    async fn read_article(&self, article: i64, mode: Mode, tally: &mut Tally) -> Result<(), SiteError> {
        // Noted before the site loads anything.
        let known = self.ledger.known(article);
        let asked = Instant::now();
        let page = self.site.article_page(article, mode).await?;
        tally.add(&page, false, asked.elapsed());
        let verdict = self.ledger.audit_article(article, known, counts(&page.html).as_ref());
        self.judge(verdict, &page, tally);
        Ok(())
    }

    async fn read_front(&self, number: u64, mode: Mode, tally: &mut Tally) -> Result<(), SiteError> {
        let known = self.ledger.all();
        let asked = Instant::now();
        let page = self.site.front_page(number, mode).await?;
        tally.add(&page, true, asked.elapsed());
        let verdict = self.ledger.audit_front(&known, counts(&page.html).as_ref());
        self.judge(verdict, &page, tally);
        Ok(())
    }

    fn judge(&self, verdict: Verdict, page: &Page, tally: &mut Tally) {
        let (article, description) = match verdict {
            Verdict::Fresh => return,
            Verdict::Stale(stale) => {
                tally.stale += 1;
                (stale.article, format!("stale: {stale} ({:?})", page.served))
            }
            Verdict::Unreadable => {
                tally.unreadable += 1;
                (0, "unreadable: a page does not show its counts".to_owned())
            }
        };
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if described.len() < DESCRIBED && described.insert(article) {
            // Not `eprintln!`, which panics when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{description}");
        }
    }
}

impl Reading {
    fn mode(self) -> Mode {
        match self {
            Self::Chosen(mode) => mode,
            Self::Each => Mode::Cached,
        }
    }
}

/// What a transaction has added, as the auditor counts it.
fn sum(writes: &[Write]) -> Known {
    let mut sum = Known::default();
    for write in writes {
        *match write {
            Write::VoteOnArticle { .. } => &mut sum.votes,
            Write::VoteOnComment { .. } => &mut sum.comment_votes,
            Write::Comment { .. } => &mut sum.comments,
        } += 1;
    }
    sum
}

async fn all(readers: &mut JoinSet<Result<Tally, SiteError>>) -> Result<Tally, SiteError> {
    let mut tally = Tally::default();
    while let Some(read) = readers.join_next().await {
        tally.merge(flat(read)?);
    }
    Ok(tally)
}

/// A task's own error, or its panic as one.
fn flat<T>(result: Result<Result<T, SiteError>, JoinError>) -> Result<T, SiteError> {
    result?
}
