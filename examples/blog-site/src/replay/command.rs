//! The replay as a command: opens an empty site for it, and reports.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::{Report, Settings, run};
use crate::cli::Replay;
use crate::run::signal;
use crate::site::{Caching, Opening, Site, SiteError};
use crate::stories::{self, Story};
use crate::{database, made_up};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// Replays, and prints what was found.
pub(crate) async fn replay<S: Site>(options: Replay) -> Result<ExitCode, SiteError> {
    let stories = stories(&options)?;
    // Private to this run, and removed at its end, whichever it is.
    let folder = tempfile::Builder::new().prefix("blog-replay.").tempdir()?;
    let url = match &options.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", folder.path().join("blog.db").display()),
    };
    let report = tokio::select! {
        report = audit::<S>(&options, &url, stories) => report?,
        () = signal() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}\n{}", report.json()?)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stories(options: &Replay) -> Result<Vec<Story>, SiteError> {
    let limit = options.limit.map(|limit| limit as usize);
    let mut stories = match (&options.stories, options.made_up) {
        (Some(file), _) => stories::read_file(file, limit)?,
        (None, count) => made_up::stories(count.unwrap_or_default(), options.seed),
    };
    stories.truncate(limit.unwrap_or(usize::MAX));
    if stories.is_empty() {
        return Err(SiteError::new("there are no stories to replay"));
    }
    Ok(stories)
}

async fn audit<S: Site>(options: &Replay, url: &str, stories: Vec<Story>) -> Result<Report, SiteError> {
    let opening = Opening {
        database: url.parse()?,
        tasks: options.readers + 2 * options.writers,
        memcached: options.places.memcached.clone(),
        // Of its own: the ids of an earlier run may come again, in other rows.
        namespace: format!("replay-{:08x}", fastrand::u32(..)),
        // Every write here is in a transaction that is seen, so that a long hold for others would only make a new store's
        // quarantine longer.
        plain_hold: Some(Duration::from_secs(3)),
        strict: options.places.strict,
        caching: if options.naive { Caching::Naive } else { Caching::Sweeper },
    };
    let url = opening.database.clone();
    let site = Arc::new(S::open(opening).await?);
    database::prepare_empty(&*site, &url, options.reset).await?;
    let settings = Settings {
        readers: options.readers,
        writers: options.writers,
        limit: options.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        measure: Duration::from_secs(options.measure.into()),
        seed: options.seed,
        cache: if options.naive { "naive" } else { "cachesweeper" },
    };
    let report = run(site.clone(), stories, settings).await?;
    site.close().await?;
    Ok(report)
}
