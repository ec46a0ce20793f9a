//! Latencies, in buckets that are about 6 % wide.

use std::time::Duration;

const BUCKETS: usize = 16 * 40;

/// How often which latency was seen.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    /// Adds one latency.
    pub fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// The latency, in microseconds, that `share` of all (0.5 is the median) do not exceed; to about 6 %.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(bucket);
            }
        }
        0
    }
}

/// Below 16 exact; above, 16 buckets for every doubling.
fn bucket(micros: u64) -> usize {
    if micros < 16 {
        return micros as usize;
    }
    let shift = micros.ilog2() - 4;
    ((shift as usize + 1) * 16 + (micros >> shift) as usize - 16).min(BUCKETS - 1)
}

fn highest(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let shift = bucket / 16 - 1;
    ((bucket as u64 % 16 + 17) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for micros in (0..5_000).chain([1_000_000, 123_456_789]) {
            let high = highest(bucket(micros));
            assert!(high >= micros && high <= micros + micros / 16, "{micros} is in a bucket up to {high}");
        }
    }

    #[test]
    fn quantiles_are_near() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|millis| one.add(Duration::from_millis(millis)));
        (51..=100).for_each(|millis| two.add(Duration::from_millis(millis)));
        one.merge(&two);
        assert!((50_000..54_000).contains(&one.quantile(0.5)));
        assert!((99_000..106_000).contains(&one.quantile(0.99)));
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
