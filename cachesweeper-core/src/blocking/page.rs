//! Pages of blocking code: one prefetch, one store.

use std::sync::Arc;

use super::Page;
use crate::page::{PageState, Prefetch, TagError, TagSettings, Tags, with_page};
use crate::{CacheSweep, Dependency, Rendered};

impl Page {
    /// Looks up one fragment per row, in one round trip per store node.
    pub fn prefetch<T: CacheSweep>(&self, rows: &[T], name: &str) {
        self.prefetch_many(|prefetch| {
            prefetch.rows(rows, name);
        });
    }

    /// Looks up all that `plan` names, in one round trip per store node.
    pub fn prefetch_many(&self, plan: impl FnOnce(&mut Prefetch)) {
        let mut prefetch = Prefetch::default();
        plan(&mut prefetch);
        let (lookup, keys) = self.page.begin_prefetch(&prefetch);
        let lookups = self.sweeper.drive_now(lookup);
        self.page.end_prefetch(keys, lookups);
    }

    /// Runs `render` with this page open: tags of templates find it.
    pub fn render<T>(&self, render: impl FnOnce() -> T) -> T {
        with_page(Arc::new(self.clone()), render)
    }

    /// Stores what the page's tags have rendered, in one batch.
    pub fn finish(self) {
        let ops = self.page.take_fills();
        if !ops.is_empty() {
            let replies = self.sweeper.run(ops.clone());
            self.page.filled(&ops, &replies);
        }
        if let Some((lookup, checks)) = self.page.take_checks() {
            let lookups = self.sweeper.drive_now(lookup);
            let removals = PageState::conclude(checks, &lookups);
            if !removals.is_empty() {
                self.sweeper.run(removals);
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
        self.page.tag(on, settings, body, Some(&|lookup| self.sweeper.drive_now(lookup)))
    }
}
