//! Somebody who votes at a steady rate while readers are at work, and looks whether each vote is shown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::pages::site::Site;

/// What has come of the votes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Voted {
    /// How many were acknowledged.
    pub(super) votes: u64,
    /// How many were not on the page that was read right after.
    pub(super) stale: u64,
}

/// Runs `load` while `rate` votes come in a second; none, if it is 0.
pub(super) fn while_voting<T>(
    site: &Site,
    article: i64,
    path: &str,
    rate: u32,
    load: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Voted), Failure> {
    if rate == 0 {
        return Ok((load()?, Voted::default()));
    }
    // So that the article is on the front page, whatever came after it.
    site.vote(article)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let voting = scope.spawn(|| vote(site, article, path, rate, &done));
        let loaded = load();
        done.store(true, Ordering::Relaxed);
        let voted = voting.join().map_err(|_| "the voter has panicked")?;
        Ok((loaded?, voted?))
    })
}

fn vote(site: &Site, article: i64, path: &str, rate: u32, done: &AtomicBool) -> Result<Voted, Failure> {
    let (mut voted, mut next) = (Voted::default(), Instant::now());
    let mut known = site.votes(path, article)?;
    while !done.load(Ordering::Relaxed) {
        site.vote(article)?;
        voted.votes += 1;
        known += 1;
        // Nobody else votes.
        voted.stale += u64::from(site.votes(path, article)? != known);
        next += Duration::from_secs(1) / rate;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(voted)
}
