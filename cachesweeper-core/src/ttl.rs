//! Lifetimes of stored items, with the one rule that trips users of memcached kept in one place.

use std::time::Duration;

use crate::Micros;

/// How long a stored item lives: between one second and ten years.
///
/// memcached takes seconds, and reads any number above 30 days as a date. A `Ttl` is always a length of time;
/// [`Ttl::for_memcached`] is the one place that knows the rule.
///
/// ```
/// use std::time::Duration;
/// use cachesweeper_core::Ttl;
///
/// assert!(Ttl::new(Duration::from_secs(500)).is_ok());
/// assert!(Ttl::new(Duration::ZERO).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ttl(u32);

/// A lifetime that no store can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a TTL of {0:?} cannot be kept: give at least 1 second and at most 10 years (3650 days)")]
pub struct InvalidTtl(pub Duration);

impl Ttl {
    /// The longest TTL: 3650 days.
    pub const MAX: Self = Self(3650 * 24 * 60 * 60);

    /// The TTL of this length; parts of a second are rounded up.
    ///
    /// # Errors
    ///
    /// [`InvalidTtl`] if it is zero or longer than [`Ttl::MAX`].
    pub fn new(length: Duration) -> Result<Self, InvalidTtl> {
        let secs = length.as_secs() + u64::from(length.subsec_nanos() > 0);
        match u32::try_from(secs) {
            Ok(secs) if secs > 0 && secs <= Self::MAX.0 => Ok(Self(secs)),
            _ => Err(InvalidTtl(length)),
        }
    }

    /// A TTL of whole days.
    pub const fn days(days: u32) -> Self {
        assert!(days > 0 && days <= 3650, "a TTL has 1 to 3650 days");
        Self(days * 24 * 60 * 60)
    }

    /// The length in seconds.
    pub fn secs(self) -> u32 {
        self.0
    }

    /// The number that memcached is sent at `now` (seconds since the Unix epoch): up to 30 days a length in seconds, above
    /// it a date. Dates end in January 2038, where the server's signed 32 bits do; a longer TTL ends there.
    pub fn for_memcached(self, now: u64) -> u32 {
        const THIRTY_DAYS: u32 = 30 * 24 * 60 * 60;
        if self.0 <= THIRTY_DAYS {
            return self.0;
        }
        let date = (now + u64::from(self.0)).min(i32::MAX.unsigned_abs().into());
        u32::try_from(date).unwrap_or(THIRTY_DAYS)
    }

    /// When an item that is stored at `now` ends.
    pub fn end(self, now: Micros) -> Micros {
        now.plus(Micros(u64::from(self.0) * 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ttls_are_dates_and_dates_fit_31_bits() {
        let now = 1_800_000_000;
        assert_eq!(Ttl::days(30).for_memcached(now), 2_592_000);
        assert_eq!(u64::from(Ttl::days(31).for_memcached(now)), now + 31 * 86_400);
        assert_eq!(Ttl::MAX.for_memcached(now), 2_115_360_000);
        assert_eq!(Ttl::MAX.for_memcached(2_000_000_000), 2_147_483_647);
    }

    #[test]
    fn parts_of_a_second_are_rounded_up() {
        assert_eq!(Ttl::new(Duration::from_millis(1)), Ok(Ttl(1)));
        assert_eq!(Ttl::new(Duration::from_millis(1_001)), Ok(Ttl(2)));
    }
}
