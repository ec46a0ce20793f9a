//! What a caller gets: the rendered output, and how it came about.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::Reason;

/// How a fragment was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// From the store.
    Hit,
    /// Rendered by another caller of this process, for both.
    Shared,
    /// From the store, but a render that verified it gave something else, which was served in its place.
    Corrected,
    /// From the store, in an older version that `serve_stale` allows.
    Stale,
    /// Rendered, and stored.
    Miss,
    /// Rendered. The store did not take it.
    Unstored,
    /// Rendered, and not stored: a fragment inside it was a bypass, or the page's data may have been loaded before a write
    /// that the tokens know of.
    Unstorable,
    /// Rendered, and not stored because it is larger than the store takes.
    TooLarge,
    /// Rendered without the cache, for this reason.
    Bypass(Reason),
}

impl Outcome {
    /// One of the words `hit`, `miss` and `bypass`, for logs and overlays.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit | Self::Shared | Self::Stale | Self::Corrected => "hit",
            Self::Miss | Self::Unstored | Self::Unstorable | Self::TooLarge => "miss",
            Self::Bypass(_) => "bypass",
        }
    }

    /// Whether a fragment around this one may be stored.
    pub(crate) fn is_cacheable(self) -> bool {
        // Too large or refused by the store says nothing about freshness.
        matches!(self, Self::Hit | Self::Shared | Self::Corrected | Self::Miss | Self::TooLarge | Self::Unstored)
            || matches!(self, Self::Bypass(Reason::InvalidTtl | Reason::Verifying))
    }
}

/// Rendered output: a `&str`, in effect, that knows how it came about.
///
/// ```
/// # use cachesweeper_core::Rendered;
/// fn page(fragment: Rendered) -> String {
///     format!("<main>{fragment}</main>")
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Rendered {
    body: Bytes,
    outcome: Outcome,
    took: Duration,
}

impl Rendered {
    /// `body` is UTF-8: it was rendered as a string, or checked when its envelope was read.
    pub(crate) fn new(body: Bytes, outcome: Outcome, took: Duration) -> Self {
        Self { body, outcome, took }
    }

    /// The same, with what was rendered in place of what the store had.
    pub(crate) fn correct(&mut self, body: Bytes) {
        (self.body, self.outcome) = (body, Outcome::Corrected);
    }

    /// The output.
    pub fn as_str(&self) -> &str {
        // Checked where it was read; a second check costs less than a reader who has to believe it.
        simdutf8::basic::from_utf8(&self.body).unwrap_or_default()
    }

    /// How it was served.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// How long lookup, rendering and storing took together.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The output, without copying it.
    pub fn into_bytes(self) -> Bytes {
        self.body
    }
}

impl Deref for Rendered {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Rendered {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Rendered> for String {
    fn from(rendered: Rendered) -> Self {
        rendered.as_str().to_owned()
    }
}

impl PartialEq<str> for Rendered {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Rendered {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Rendered {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}
