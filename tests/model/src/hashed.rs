//! A shared value that knows its hash.
//!
//! A step of the model changes one part of a state; the others are shared with the state before, and their hashes are known.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A value behind an [`Arc`], with its hash.
pub struct Hashed<T>(Arc<(u64, T)>);

fn hash_of<T: Hash>(value: &T) -> u64 {
    // Fixed seeds: a run is the same every time.
    ahash::RandomState::with_seeds(0x5eed, 0x0f, 0xca7c, 0xe5).hash_one(value)
}

impl<T: Hash> Hashed<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new((hash_of(&value), value)))
    }

    /// Changes a copy of the value.
    pub fn edit<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        let mut value = self.0.1.clone();
        let result = change(&mut value);
        *self = Self::new(value);
        result
    }

    /// The value's hash.
    pub fn fingerprint(&self) -> u64 {
        self.0.0
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Hashed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.0 == other.0.0 && self.0.1 == other.0.1)
    }
}

impl<T: Eq> Eq for Hashed<T> {}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.0);
    }
}

impl<T: fmt::Debug> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}
