//! The replay: opens an empty site for it, and reports.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use blog_site::cli::Replay;
use blog_site::made_up;
use blog_site::replay::{Report, Settings, run};
use blog_site::stories::{self, Story};
use blog_site::views::Templates;
use cachesweeper_seaorm::SweepConnection;

use crate::Fatal;
use crate::blog::Blog;
use crate::cache::Cache;
use crate::naive::Naive;
use crate::{database, serve};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// Replays, and prints what was found.
pub(crate) async fn replay(options: &Replay) -> Result<ExitCode, Fatal> {
    let stories = stories(options)?;
    // Private to this run, and removed at its end, whichever it is.
    let folder = tempfile::Builder::new().prefix("blog-replay.").tempdir()?;
    let url = match &options.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}", folder.path().join("blog.db").display()),
    };
    let report = tokio::select! {
        report = audit(options, &url, stories) => report?,
        () = serve::signal() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}\n{}", report.json()?)?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn stories(options: &Replay) -> Result<Vec<Story>, Fatal> {
    let limit = options.limit.map(|limit| limit as usize);
    let mut stories = match (&options.stories, options.made_up) {
        (Some(file), _) => stories::read_file(file, limit)?,
        (None, count) => made_up::stories(count.unwrap_or_default(), options.seed),
    };
    stories.truncate(limit.unwrap_or(usize::MAX));
    if stories.is_empty() {
        return Err("there are no stories to replay".into());
    }
    Ok(stories)
}

async fn audit(options: &Replay, url: &str, stories: Vec<Story>) -> Result<Report, Fatal> {
    // A namespace of its own: the ids of an earlier run may come again, in other rows.
    let namespace = format!("replay-{:08x}", fastrand::u32(..));
    // Every write here is in a transaction that is seen, so that a long hold for others would only make a new store's
    // quarantine longer.
    let plain_hold = Duration::from_secs(3);
    let sweeper = serve::sweeper(&options.places).namespace(namespace).plain_hold(plain_hold).build()?;
    let db = database::connect(url, options.readers + 2 * options.writers).await?;
    database::prepare_empty(&db, url, options.reset).await?;
    let db = SweepConnection::new(db, sweeper.clone());
    let (cache, name) = if options.naive { (Cache::Naive(Naive::default()), "naive") } else { (Cache::Sweeper(sweeper), "cachesweeper") };
    let blog = Arc::new(Blog { db, cache, templates: Templates::new()? });
    let settings = Settings {
        readers: options.readers,
        writers: options.writers,
        limit: options.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        measure: Duration::from_secs(options.measure.into()),
        seed: options.seed,
        cache: name,
    };
    let report = run(blog.clone(), stories, settings).await?;
    blog.db.inner().close_by_ref().await?;
    Ok(report)
}
