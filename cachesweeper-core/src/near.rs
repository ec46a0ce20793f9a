//! The near cache: bodies that the process keeps beside a shared store, so that the store need not send them again.
//!
//! It knows nothing of freshness. A lookup reads the tokens of everything that a fragment depends on, as always, and takes the
//! body from here if its stamp is the one that these tokens make. So it shows nothing that the store would not show.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::Micros;
use crate::protocol::{Cached, Query};

/// Bytes of bookkeeping per body, beside key and body: hash table slot, two reference counts, stamp and time.
const OVERHEAD: u64 = 128;

#[derive(Clone)]
struct Weight;

impl Weighter<Arc<str>, Cached> for Weight {
    fn weight(&self, key: &Arc<str>, cached: &Cached) -> u64 {
        key.len() as u64 + cached.body.len() as u64 + OVERHEAD
    }
}

/// Bodies by their fragments' whole keys: of each fragment the version that was seen last.
pub(crate) struct Near(Cache<Arc<str>, Cached, Weight>);

impl Near {
    /// For at most `bytes` bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 1024).unwrap_or(1 << 20).clamp(64, 1 << 20);
        Self(Cache::with_weighter(items, bytes, Weight))
    }

    /// The query with what is kept of its fragment. That lives no longer than it does in the store: its TTL counts from when its
    /// tokens were read, which was before it was stored.
    pub(crate) fn look(&self, query: Query, now: Micros) -> Query {
        let kept = query.ttl().zip(self.0.get(&**query.full_key()));
        let near = kept.and_then(|(ttl, cached)| (ttl.end(cached.read_at) >= now).then_some(cached));
        query.with_near(near)
    }

    /// Keeps what was served of this query, unless it came from here. The body is copied: it may be a part of a larger reply.
    pub(crate) fn keep(&self, query: &Query, cached: &Cached) {
        if !query.is_near(cached) {
            let body = Bytes::copy_from_slice(&cached.body);
            self.0.insert(query.full_key().clone(), Cached { body, ..*cached });
        }
    }

    /// Forgets the fragment.
    pub(crate) fn forget(&self, query: &Query) {
        self.0.remove(&**query.full_key());
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("bodies", &self.0.len()).field("bytes", &self.0.weight()).finish()
    }
}
