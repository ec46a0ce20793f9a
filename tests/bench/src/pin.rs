//! Pinning to some cores: on a virtual machine the wake-up of another core costs more than most of what is measured here.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// Keeps this process, and what it starts from now on, on this many of the cores that it may use; returns their numbers.
///
/// Call it before any thread is started: those that are there already are not pinned.
///
/// # Errors
///
/// If there are not so many cores, or the kernel refuses.
pub fn pin(cores: usize) -> Result<Vec<usize>, Failure> {
    let allowed = sched_getaffinity(None)?;
    let chosen: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(cores).collect();
    if chosen.len() < cores {
        return Err(format!("this process may use {} of the {cores} cores that were asked for: say --cores {0}", chosen.len()).into());
    }
    let mut set = CpuSet::new();
    for cpu in &chosen {
        set.set(*cpu);
    }
    sched_setaffinity(None, &set)?;
    Ok(chosen)
}
