//! The replay: writers add every story's votes and comments while readers look for stale pages.
//!
//! A reader notes what had been acknowledged, asks for a page, and reads the page's counts out of its HTML. A page that shows
//! less is stale. After the writers have ended every story is audited once more, since a stale fragment may outlive them; then
//! the same readers measure the site with its cache and without.

mod audit;
pub(crate) mod command;
mod counts;
mod crew;
mod histogram;
mod report;
mod schedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use self::audit::{Known, Ledger, Stale, Verdict};
pub use self::counts::{Counts, Shown, counts};
use self::crew::{Crew, Reading, Tally};
pub use self::histogram::Histogram;
pub use self::report::Report;
use self::report::rounded;
pub use self::schedule::{Popularity, Schedule, Step};
use crate::site::{Mode, Served, Site, SiteError};
use crate::stories::Story;

/// How long a new store may take until it serves.
const START: Duration = Duration::from_secs(15);
/// How long the last audit, of every story once more, takes at most.
const LAST_AUDIT: Duration = Duration::from_secs(10);

/// How a replay runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Readers at work at the same time.
    pub readers: u32,
    /// Writers at work at the same time.
    pub writers: u32,
    /// After this time writers stop, also if not all is written.
    pub limit: Option<Duration>,
    /// How long each measurement at the end takes.
    pub measure: Duration,
    /// What all that is random begins with.
    pub seed: u64,
    /// What the report calls the cache.
    pub cache: &'static str,
}

/// A progress bar on standard error; none if that is no terminal.
pub fn progress(length: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix:>9} {wide_bar} {human_pos}/{human_len} {per_sec} {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(what)
}

/// Imports the stories that are not there yet, with a progress bar; returns how many.
///
/// # Errors
///
/// The site's.
pub async fn import<S: Site>(site: &S, stories: &[Story]) -> Result<usize, SiteError> {
    let bar = progress(stories.len() as u64, "importing");
    let mut added = 0;
    for chunk in stories.chunks(500) {
        added += site.add_articles(chunk).await?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    Ok(added)
}

/// Waits until the store serves, so that the replay is not one of its start. A store that is down is not waited for long.
async fn ready<S: Site>(site: &S) -> Result<(), SiteError> {
    let deadline = Instant::now() + START;
    while site.front_page(1, Mode::Cached).await?.served == Served::Bypass && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Replays `stories`, which the site must not have yet.
///
/// # Errors
///
/// The site's: a database that fails ends the replay.
pub async fn run<S: Site>(site: Arc<S>, stories: Vec<Story>, settings: Settings) -> Result<Report, SiteError> {
    // The first lookup on a new store starts its quarantine, which then passes while stories are imported.
    site.front_page(1, Mode::Cached).await?;
    import(&*site, &stories).await?;
    ready(&*site).await?;
    let crew = Crew::new(site, stories, settings);

    let began = Instant::now();
    let mut audited = crew.write_and_read().await?;
    let seconds = began.elapsed().as_secs_f64();
    let (busy_pages, written) = (audited.pages, crew.written());
    let (p50, p99) = (audited.latencies.quantile(0.5), audited.latencies.quantile(0.99));
    audited.merge(crew.read(Reading::Each, LAST_AUDIT).await?);

    // Both on the data as they are now, with as many readers, by the same choice of pages.
    let cached = crew.read(Reading::Chosen(Mode::Cached), settings.measure).await?;
    let uncached = crew.read(Reading::Chosen(Mode::Uncached), settings.measure).await?;
    if uncached.stale > 0 {
        return Err(SiteError::new("pages rendered without the cache lack what was acknowledged: the audit itself is wrong"));
    }
    let per_second = |tally: &Tally| tally.pages as f64 / tally.seconds.max(0.001);
    Ok(Report {
        cache: settings.cache,
        stories: crew.stories(),
        pages: audited.pages,
        hits: audited.hits,
        hit_ratio: rounded(audited.hits as f64 / audited.pages.max(1) as f64, 4),
        misses: audited.misses,
        bypasses: audited.bypasses,
        writes: written.writes,
        transactions: written.transactions,
        stale: audited.stale + cached.stale,
        unreadable: audited.unreadable + cached.unreadable + uncached.unreadable,
        queries: audited.articles.queries + audited.fronts.queries,
        queries_without_cache: audited.articles.at(uncached.articles) + audited.fronts.at(uncached.fronts),
        speedup: rounded(per_second(&cached) / per_second(&uncached), 2),
        seconds: rounded(seconds, 2),
        pages_per_second: rounded(busy_pages as f64 / seconds, 1),
        writes_per_second: rounded(written.writes as f64 / seconds, 1),
        p50_micros: p50,
        p99_micros: p99,
        quiet_pages_per_second: rounded(per_second(&cached), 1),
        uncached_pages_per_second: rounded(per_second(&uncached), 1),
        complete: written.complete,
        readers: settings.readers,
        writers: settings.writers,
        seed: settings.seed,
    })
}
