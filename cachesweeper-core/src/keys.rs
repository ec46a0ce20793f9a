//! Store keys: namespaced, printable, at most 250 bytes, readable when short.
//!
//! ```text
//! ns/t/record                       the record's version log
//! ns/f/name/dependency+…[/vary…]    a fragment; a dependency without its row in hand starts with "~"
//! ns/l/<hash of fragment and stamp> a lease
//! ns/b                              a node's marker
//! ```
//!
//! All parts are escaped, so "/" and "+" only ever separate. A key that would be longer than 250 bytes ends in `#` and the
//! hash of the whole; a fragment's whole key is kept inside the fragment and compared on every hit.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::version::Stamp;
use crate::{Dependency, RecordKey, escape};

/// The longest key that memcached takes, in bytes.
pub const MAX_KEY: usize = 250;

/// Shortens a key that is too long: its beginning, `#`, and the hash of the whole.
pub fn store_key(full: &Arc<str>) -> Arc<str> {
    if full.len() <= MAX_KEY {
        return full.clone();
    }
    let hash = xxh3_128(full.as_bytes());
    build(|key| {
        // Keys are ASCII, so any byte is a boundary.
        key.push_str(&full[..MAX_KEY - 33]);
        let _ = write!(key, "#{hash:032x}");
    })
}

/// Builds a text in a buffer that its thread keeps, so that the text itself is the only allocation.
pub(crate) fn build(write: impl FnOnce(&mut String)) -> Arc<str> {
    /// Bytes of a buffer that is kept: keys are short, and one long one is no reason to keep as much for ever.
    const KEPT: usize = 4096;
    thread_local! {
        static BUFFER: Cell<String> = const { Cell::new(String::new()) };
    }
    // Empty while a text is built within a text, and at the thread's very end.
    let mut text = BUFFER.try_with(Cell::take).unwrap_or_default();
    text.clear();
    write(&mut text);
    let built = Arc::from(text.as_str());
    if text.capacity() <= KEPT {
        let _ = BUFFER.try_with(|buffer| buffer.set(text));
    }
    built
}

/// An application's part of the store: the first part of every key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    name: Arc<str>,
    marker: Arc<str>,
}

impl Namespace {
    /// Escapes `name`.
    pub fn new(name: &str) -> Self {
        let mut text = String::new();
        escape::part(name, &mut text);
        Self { marker: format!("{text}/b").into(), name: text.into() }
    }

    /// The key of a record's version log.
    pub fn log(&self, record: &RecordKey) -> Arc<str> {
        store_key(&build(|key| {
            key.push_str(&self.name);
            key.push_str("/t/");
            key.push_str(record.as_str());
        }))
    }

    /// The key of a node's marker.
    pub fn marker(&self) -> Arc<str> {
        self.marker.clone()
    }

    /// The key of the lease for filling one version of a fragment.
    pub fn lease(&self, full_key: &str, stamp: Stamp) -> Arc<str> {
        let hash = xxh3_128(full_key.as_bytes()) ^ u128::from_be_bytes(stamp.to_bytes());
        format!("{}/l/{hash:032x}", self.name).into()
    }

    /// Whether this store key is a fragment's.
    pub fn is_fragment(&self, key: &str) -> bool {
        key.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with("/f/"))
    }

    /// The whole key of a fragment.
    pub fn fragment(&self, name: &str, on: &[Dependency], vary: &[String]) -> Arc<str> {
        build(|key| {
            key.push_str(&self.name);
            key.push_str("/f/");
            escape::part(name, key);
            for (position, dependency) in on.iter().enumerate() {
                key.push(if position == 0 { '/' } else { '+' });
                if dependency.row.is_none() {
                    // Not in the record's own alphabet at this place: an entity's name is never empty.
                    key.push_str("~/");
                }
                key.push_str(dependency.record.as_str());
            }
            for part in vary {
                key.push('/');
                escape::part(part, key);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn on(records: &[&str]) -> Vec<Dependency> {
        records.iter().map(|id| Dependency { record: RecordKey::new("comment", id), row: None }).collect()
    }

    #[test]
    fn short_keys_are_readable() {
        let blog = Namespace::new("blog");
        assert_eq!(&*blog.log(&RecordKey::new("comment", 42)), "blog/t/comment:42");
        assert_eq!(&*blog.fragment("comment.html", &on(&["42"]), &["de".into()]), "blog/f/comment.html/~/comment:42/de");
    }

    #[test]
    fn empty_and_split_parts_are_told_apart() {
        let blog = Namespace::new("blog");
        let key = |vary: &[&str]| blog.fragment("c", &on(&["1"]), &vary.iter().map(|part| (*part).into()).collect::<Vec<_>>());
        let keys = [key(&[]), key(&[""]), key(&["", ""]), key(&["a", "b"]), key(&["a/b"]), key(&["a+b"]), key(&["%"])];
        for (position, key) in keys.iter().enumerate() {
            assert!(!keys[..position].contains(key), "{key} twice");
        }
    }

    proptest! {
        #[test]
        fn keys_are_single_words_of_at_most_250_bytes(name in any::<String>(), id in any::<String>(), vary in any::<Vec<String>>()) {
            let blog = Namespace::new("a b\r\nc");
            let full = blog.fragment(&name, &on(&[&id]), &vary);
            for key in [store_key(&full), blog.log(&RecordKey::new(&name, &id))] {
                prop_assert!(key.len() <= MAX_KEY);
                prop_assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn different_parts_make_different_keys(a in any::<Vec<String>>(), b in any::<Vec<String>>()) {
            let blog = Namespace::new("blog");
            let (left, right) = (blog.fragment("c", &on(&["1"]), &a), blog.fragment("c", &on(&["1"]), &b));
            prop_assert_eq!(a == b, left == right);
        }
    }
}
