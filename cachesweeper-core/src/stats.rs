//! Counters of everything that happens, and of everything that is absorbed.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        /// Live counters; cheap to bump from any thread.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// What a sweeper has done since it was built. A snapshot: the numbers were read one after the other.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$meta])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Stats {
            /// All counters by name, for a statistics page.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Fragments served from the store.
    hits,
    /// Of the hits: the body had been kept in the process (`.near_cache(…)`), so that only the tokens were fetched.
    near_hits,
    /// Fragments that another caller of this process rendered for this one too.
    shared,
    /// Fragments served in an older version, as `serve_stale` allows.
    served_stale,
    /// Fragments that were rendered because the store had no valid version.
    misses,
    /// Fragments that were rendered without the cache.
    bypasses,
    /// Of the bypasses: a write was about to commit.
    bypasses_held,
    /// Of the bypasses: the node had lost its memory, or was new.
    bypasses_quarantine,
    /// Of the bypasses: the node could not be reached.
    bypasses_node_down,
    /// Of the bypasses: the task had a transaction with changes open.
    bypasses_in_transaction,
    /// Of the bypasses: the fragment was asked for in a way that cannot be cached (no dependency, a key of a timestamp record, an invalid TTL).
    bypasses_refused,
    /// Of the bypasses: a fragment around it was rendered again to be verified.
    bypasses_verifying,
    /// Fragments stored.
    fills,
    /// Rendered fragments that were not stored because they are too large.
    too_large,
    /// Rendered fragments that were not stored because something inside them was not cacheable at that moment.
    unstorable_inner,
    /// Rendered fragments of pages that were not stored because their data may have been loaded too early.
    loaded_too_early,
    /// Rendered fragments that the store did not take.
    fills_failed,
    /// Fragments sent to the store compressed.
    compressed,
    /// Bytes by which these became smaller, in all.
    compressed_saved,
    /// Fragments of the store that were not sealed with the application's secret. Each was taken for missing.
    forged,
    /// Sweeps: single writes and transactions that changed something.
    sweeps,
    /// Records invalidated by them.
    records_swept,
    /// Records whose whole entity was invalidated because a tree was deeper than its bound.
    depth_exceeded,
    /// Records that could not be marked before their write committed.
    marks_failed,
    /// Of those, delivered since.
    marks_delivered,
    /// Records whose marking took so much of their hold that it may not have covered the COMMIT.
    marks_late,
    /// Writes refused under the policy `Abort`.
    writes_refused,
    /// Writes in transactions whose end cannot be seen.
    plain_writes,
    /// Writes that went past the hooks and wrappers, as far as they were noticed.
    writes_unswept,
    /// Commits whose outcome is unknown.
    commits_unknown,
    /// Writes whose sweep could not be completed after their commit (a database query failed).
    sweeps_incomplete,
    /// Holds that were renewed because a COMMIT took long.
    renewals,
    /// Hits that were rendered again and compared, with a result: equal, or stale.
    verified,
    /// Of those: the store had something that a render no longer gave. Each one is logged as an error.
    stale,
    /// Hits that were rendered again without a result: something changed meanwhile, or the closure failed.
    verify_void,
    /// Hits that were rendered again and came out differently. A later look decides whether they count as `stale` or as
    /// `verify_nondeterministic`; those without one are undecided.
    verify_suspected,
    /// Of the suspected: the output is different each time.
    verify_nondeterministic,
    /// Batches sent to the store; each is one round trip per node.
    round_trips,
    /// Operations in them.
    store_operations,
    /// Operations that a store node did not answer, or answered with an error.
    store_errors,
}

impl Counters {
    pub(crate) fn bump(counter: &AtomicU64) {
        Self::add(counter, 1);
    }

    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}
