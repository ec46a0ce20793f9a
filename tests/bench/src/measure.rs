//! Times: contestants take turns, so that whatever else the machine does meets all of them alike, and medians are told.

use std::time::{Duration, Instant};

use crate::Failure;

/// The shortest time that is taken at once: calls that are faster are timed several at a time.
const LEAST: Duration = Duration::from_micros(20);

/// Something to be timed.
pub struct Contestant<'a> {
    /// What it is called in tables.
    pub name: String,
    /// Makes this many calls.
    run: Box<dyn FnMut(u32) -> Result<(), Failure> + 'a>,
    /// Makes it ready for the next turn, untimed.
    prepare: Box<dyn FnMut() -> Result<(), Failure> + 'a>,
    once: bool,
}

impl std::fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl<'a> Contestant<'a> {
    /// `run` makes as many calls as it is told.
    pub fn new(name: impl Into<String>, run: impl FnMut(u32) -> Result<(), Failure> + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run), prepare: Box::new(|| Ok(())), once: false }
    }

    /// `run` makes one call, and `prepare` is called ahead of each, untimed.
    pub fn prepared(
        name: impl Into<String>,
        prepare: impl FnMut() -> Result<(), Failure> + 'a,
        mut run: impl FnMut() -> Result<(), Failure> + 'a,
    ) -> Self {
        Self { name: name.into(), run: Box::new(move |_| run()), prepare: Box::new(prepare), once: true }
    }
}

/// The times of one contestant, in nanoseconds per call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Half of the turns were faster.
    pub median: f64,
    /// A tenth of the turns were faster.
    pub p10: f64,
    /// A tenth of the turns were slower.
    pub p90: f64,
    /// How many turns there were.
    pub turns: usize,
    /// Calls made in all, the untold ones of the warm-up included.
    pub calls: u64,
}

impl Timing {
    fn of(mut times: Vec<f64>, calls: u64) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self { median: at(0.5), p10: at(0.1), p90: at(0.9), turns: times.len(), calls }
    }

    /// The median in microseconds.
    pub fn micros(&self) -> f64 {
        self.median / 1_000.0
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// About this long, all contestants together; but at least 5 turns, and at most 5,000.
    pub seconds: f64,
}

/// Times the contestants in turns; each begins as often as the others.
///
/// # Errors
///
/// The first one of a contestant's.
pub fn in_turns(contestants: &mut [Contestant<'_>], budget: Budget) -> Result<Vec<Timing>, Failure> {
    let mut made = vec![0_u64; contestants.len()];
    let mut calls = Vec::with_capacity(contestants.len());
    for (contestant, made) in contestants.iter_mut().zip(&mut made) {
        // The first calls connect, and fill caches: the third tells how many calls make a turn.
        let mut took = Duration::ZERO;
        for _ in 0..3 {
            (contestant.prepare)()?;
            let started = Instant::now();
            (contestant.run)(1)?;
            took = started.elapsed();
            *made += 1;
        }
        let many = LEAST.as_nanos() / took.as_nanos().max(1) + 1;
        calls.push(if contestant.once { 1 } else { u32::try_from(many).unwrap_or(1) });
    }
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
    let until = Instant::now() + Duration::from_secs_f64(budget.seconds);
    for turn in 0..5_000 {
        if turn >= 5 && Instant::now() > until {
            break;
        }
        for offset in 0..contestants.len() {
            let index = (turn + offset) % contestants.len();
            let contestant = &mut contestants[index];
            // Untimed: it brings back what the one before has driven out of caches, and a server's thread to its core.
            (contestant.prepare)()?;
            (contestant.run)(1)?;
            (contestant.prepare)()?;
            let started = Instant::now();
            (contestant.run)(calls[index])?;
            times[index].push(started.elapsed().as_nanos() as f64 / f64::from(calls[index]));
            made[index] += u64::from(calls[index]) + 1;
        }
    }
    Ok(times.into_iter().zip(made).map(|(times, made)| Timing::of(times, made)).collect())
}

/// Forgets the largest memory that this process has had, so that [`memory_peak`] tells what comes from now on.
///
/// # Errors
///
/// If the kernel does not let it.
pub fn forget_memory_peak() -> Result<(), Failure> {
    std::fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}").into())
}

/// The largest memory that this process has had, in MiB (`VmHWM`).
///
/// # Errors
///
/// If the kernel does not tell.
pub fn memory_peak() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the kernel tells no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_take_as_many_turns_and_calls_are_counted() {
        let (mut slow, mut fast) = (0_u64, 0_u64);
        let mut contestants = [
            Contestant::prepared(
                "slow",
                || Ok(()),
                || {
                    slow += 1;
                    std::thread::sleep(Duration::from_micros(200));
                    Ok(())
                },
            ),
            Contestant::new("fast", |calls| {
                fast += u64::from(calls);
                Ok(())
            }),
        ];
        let timings = in_turns(&mut contestants, Budget { seconds: 0.01 }).unwrap();
        drop(contestants);
        assert_eq!(timings[0].turns, timings[1].turns);
        assert_eq!((timings[0].calls, timings[1].calls), (slow, fast));
        assert!(timings[0].median > timings[1].median);
    }

    #[test]
    fn a_failure_ends_it() {
        let mut contestants = [Contestant::new("broken", |_| Err("as it must".into()))];
        assert_eq!(in_turns(&mut contestants, Budget { seconds: 1.0 }).unwrap_err().to_string(), "as it must");
    }
}
