//! What the pages that were served have taken, for the statistics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::site::{Page, Served};

/// Counts pages.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pages: AtomicU64,
    hits: AtomicU64,
    queries: AtomicU64,
}

impl Tally {
    /// One more page.
    pub(crate) fn count(&self, page: &Page) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.hits.fetch_add((page.served == Served::Hit).into(), Ordering::Relaxed);
        self.queries.fetch_add(page.queries, Ordering::Relaxed);
    }

    /// All pages, those whose outermost fragment was a hit, and the database queries of all of them. What visitors write is not
    /// in it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = [("pages", &self.pages), ("page_hits", &self.hits), ("page_queries", &self.queries)];
        counters.map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).into_iter()
    }
}
