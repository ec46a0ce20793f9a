//! Tokens and stamps: what tells one version of a record, or of a fragment, from every other.

use std::fmt;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_128;

/// A record's version token: the 128-bit hash (XXH3) of its log's raw bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u128);

impl Token {
    /// The token of a log with these raw bytes.
    pub fn of_log(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The 128-bit hash over the row in hand and the tokens of everything a fragment depends on.
///
/// It is kept inside the fragment and says whether the fragment is still valid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(u128);

impl Stamp {
    /// The wire form: 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the wire form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// A stamp from random bits: it matches nothing. For renders that only `serve_stale` readers may see.
    pub fn unmatchable(random: u64, more: u64) -> Self {
        Self(u128::from(random) << 64 | u128::from(more))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Collects the parts of a [`Stamp`], in the order of the fragment's dependencies.
#[derive(Clone, Default)]
pub struct StampBuilder {
    parts: SmallVec<[u8; 64]>,
}

impl StampBuilder {
    /// Starts a stamp for about this many parts.
    pub fn with_capacity(parts: usize) -> Self {
        Self { parts: SmallVec::with_capacity(parts * 17) }
    }

    /// Adds the digest of a row in hand.
    pub fn row(&mut self, digest: u128) {
        self.parts.push(b'r');
        self.parts.extend_from_slice(&digest.to_be_bytes());
    }

    /// Adds a record's token.
    pub fn token(&mut self, token: Token) {
        self.parts.push(b't');
        self.parts.extend_from_slice(&token.0.to_be_bytes());
    }

    /// The stamp.
    pub fn finish(&self) -> Stamp {
        Stamp(xxh3_128(&self.parts))
    }

    /// Starts the next stamp.
    pub fn clear(&mut self) {
        self.parts.clear();
    }
}
