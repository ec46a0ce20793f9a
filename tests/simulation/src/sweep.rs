//! Many seeds, on several threads; reports come in the order of the seeds.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use crate::profile::Profile;
use crate::run::{Report, run};

/// Runs the seeds. A broken profile ends with the first stale read.
pub fn sweep(profile: &Profile, seeds: Range<u64>, threads: usize, mut each: impl FnMut(Report)) {
    let (next, found) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next, found) = (sender.clone(), &next, &found);
            scope.spawn(move || {
                while !found.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send(run(profile, seed, false).0).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut due) = (BTreeMap::new(), seeds.start);
        for report in reports {
            waiting.insert(report.seed, report);
            while let Some(report) = waiting.remove(&due) {
                due += 1;
                // What other threads have run beyond the first stale seed is left out: the table is the same on any machine.
                if found.load(Ordering::Relaxed) {
                    continue;
                }
                found.store(profile.broken && !report.stale.is_empty(), Ordering::Relaxed);
                each(report);
            }
        }
    });
}
