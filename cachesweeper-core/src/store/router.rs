//! Which node a record lives on: rendezvous hashing over the configured names, with a fixed hash.
//!
//! A record's log and its fragments live on one node, so only the record part of a key is hashed. The hash (XXH3) and the
//! way it is used are part of the wire format: every process must route alike. There is no failover re-hash.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::RecordKey;

/// Routes records to nodes.
#[derive(Clone, Debug)]
pub struct Router {
    seeds: Vec<u64>,
}

impl Router {
    /// A router over the nodes' names. Their order does not matter to where a record goes.
    pub fn new(nodes: &[Arc<str>]) -> Self {
        Self { seeds: nodes.iter().map(|name| xxh3_64(name.as_bytes())).collect() }
    }

    /// The node of a record: the one whose weight is the highest (Thaler and Ravishankar, 1998).
    pub fn node(&self, record: &RecordKey) -> usize {
        if let [_] = self.seeds.as_slice() {
            return 0;
        }
        let weight = |seed: u64| xxh3_64_with_seed(record.as_str().as_bytes(), seed);
        let best = self.seeds.iter().enumerate().max_by_key(|(_, seed)| (weight(**seed), **seed));
        best.map_or(0, |(node, _)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(names: &[&str]) -> Router {
        Router::new(&names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>())
    }

    #[test]
    fn routes_are_pinned() {
        // Other processes, and later versions, must find what this one stored.
        let router = router(&["cache1:11211", "cache2:11211", "cache3:11211"]);
        let nodes: Vec<usize> = (0..12).map(|id| router.node(&RecordKey::new("comment", id))).collect();
        assert_eq!(nodes, [0, 1, 0, 2, 2, 0, 2, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn removing_a_node_moves_only_its_records() {
        let (three, two) = (router(&["a", "b", "c"]), router(&["a", "b"]));
        for id in 0..1000 {
            let key = RecordKey::new("comment", id);
            let (before, after) = (three.node(&key), two.node(&key));
            assert!(before == 2 || before == after);
        }
    }

    #[test]
    fn nodes_get_similar_shares() {
        let router = router(&["a", "b", "c", "d"]);
        let mut shares = [0; 4];
        for id in 0..10_000 {
            shares[router.node(&RecordKey::new("comment", id))] += 1;
        }
        assert!(shares.iter().all(|share| (2_200..2_800).contains(share)), "{shares:?}");
    }
}
