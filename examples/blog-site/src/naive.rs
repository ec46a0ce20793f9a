//! The classic scheme, for comparison: a version per record, raised by each save, as part of the key.
//!
//! It is written as well as it can be: the version is read once, before the data, and a fragment is stored under that version.
//! Its weakness is its own: versions are raised inside the transaction, when a save's hook runs, and the data change at its
//! COMMIT. Who reads in between takes the new version, finds the old data, and stores them under it. Nobody raises the
//! version after that, so they stay.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cachesweeper_core::RecordKey;

/// Versions and fragments, in the memory of this process.
#[derive(Debug, Default)]
pub struct Naive {
    versions: Mutex<HashMap<RecordKey, u64>>,
    /// By record and name; only the latest version is kept.
    fragments: Mutex<HashMap<(RecordKey, String), (u64, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Naive {
    /// What a save's hook does: raises the versions of the row and its parents.
    pub(crate) fn after_save(&self, records: impl IntoIterator<Item = RecordKey>) {
        let mut versions = lock(&self.versions);
        for record in records {
            *versions.entry(record).or_default() += 1;
        }
    }

    pub(crate) fn version(&self, record: &RecordKey) -> u64 {
        lock(&self.versions).get(record).copied().unwrap_or_default()
    }

    pub(crate) fn get(&self, record: &RecordKey, name: &str, version: u64) -> Option<String> {
        let fragments = lock(&self.fragments);
        let (stored, html) = fragments.get(&(record.clone(), name.to_owned()))?;
        (*stored == version).then(|| html.clone())
    }

    pub(crate) fn set(&self, record: &RecordKey, name: &str, version: u64, html: String) {
        let mut fragments = lock(&self.fragments);
        let slot = fragments.entry((record.clone(), name.to_owned())).or_default();
        // A late one must not replace a newer one.
        if slot.0 <= version {
            *slot = (version, html);
        }
    }
}
