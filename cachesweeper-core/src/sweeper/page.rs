//! Pages of async code: one prefetch, one store.

use std::sync::Arc;

use super::Page;
use crate::face::Face as _;
use crate::page::{PageOf, PageState, Prefetch, TagError, TagSettings, Tags, with_page};
use crate::{CacheSweep, Dependency, Error, Rendered, blocking};

impl Page {
    /// Looks up one fragment per row, in one round trip per store node.
    ///
    /// # Errors
    ///
    /// None today: a store that does not answer makes the tags bypass.
    pub async fn prefetch<T: CacheSweep>(&self, rows: &[T], name: &str) -> Result<(), Error> {
        self.prefetch_many(|prefetch| {
            prefetch.rows(rows, name);
        })
        .await
    }

    /// Looks up all that `plan` names, in one round trip per store node.
    ///
    /// # Errors
    ///
    /// None today: a store that does not answer makes the tags bypass.
    pub async fn prefetch_many(&self, plan: impl FnOnce(&mut Prefetch)) -> Result<(), Error> {
        let mut prefetch = Prefetch::default();
        plan(&mut prefetch);
        let (lookup, keys) = self.page.begin_prefetch(&prefetch);
        let lookups = self.sweeper.drive(lookup).await;
        self.page.end_prefetch(keys, lookups);
        Ok(())
    }

    /// The same page for a template that renders inside `spawn_blocking`: tags that were not prefetched wait for the store.
    /// `None` on a store of your own.
    pub fn blocking(&self) -> Option<blocking::Page> {
        Some(PageOf { sweeper: self.sweeper.blocking()?, page: self.page.clone() })
    }

    /// Runs `render` with this page open: tags of templates find it.
    pub fn render<T>(&self, render: impl FnOnce() -> T) -> T {
        with_page(Arc::new(self.clone()), render)
    }

    /// Stores what the page's tags have rendered, in one batch.
    pub async fn finish(self) {
        let ops = self.page.take_fills();
        if !ops.is_empty() {
            let replies = self.sweeper.run(ops.clone()).await;
            self.page.filled(&ops, &replies);
        }
        if let Some((lookup, checks)) = self.page.take_checks() {
            let lookups = self.sweeper.drive(lookup).await;
            let removals = PageState::conclude(checks, &lookups);
            if !removals.is_empty() {
                self.sweeper.run(removals).await;
            }
        }
    }
}

impl Tags for Page {
    fn tag(
        &self,
        on: Vec<Dependency>,
        settings: TagSettings,
        body: &mut dyn FnMut() -> Result<String, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Rendered, TagError> {
        // The embedded store answers at once, so a tag need not be prefetched.
        let embedded = self.sweeper.blocking().filter(|_| !self.sweeper.shared().info.shared);
        match embedded {
            Some(sweeper) => self.page.tag(on, settings, body, Some(&|lookup| sweeper.drive_now(lookup))),
            None => self.page.tag(on, settings, body, None),
        }
    }
}
