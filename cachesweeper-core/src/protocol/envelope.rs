//! The fragment's envelope: what is stored under a fragment's key.
//!
//! ```text
//! envelope = format(1) stamp(16) tokens-read-at(8) key-length(4) key body
//! ```
//!
//! Integers are big-endian. The whole key is compared on every hit, so a shortened or colliding store key never shows
//! another fragment.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Micros;
use crate::version::Stamp;

/// A parsed envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Says whether the fragment is still valid.
    pub stamp: Stamp,
    /// When the stamp's tokens were read.
    pub read_at: Micros,
    /// The rendered output.
    pub body: Bytes,
}

impl Envelope {
    /// The first byte of the format described here.
    pub const FORMAT: u8 = 1;

    /// Bytes of an envelope beside its key and body.
    pub const OVERHEAD: usize = 1 + 16 + 8 + 4;

    /// The wire form.
    pub fn encode(&self, key: &str) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::OVERHEAD + key.len() + self.body.len());
        bytes.put_u8(Self::FORMAT);
        bytes.put_slice(&self.stamp.to_bytes());
        bytes.put_u64(self.read_at.0);
        bytes.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
        bytes.put_slice(key.as_bytes());
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Reads the wire form of the fragment with this whole key. `None` if it is not one: another format, another key, cut
    /// short, or not UTF-8. Never panics, and copies nothing.
    pub fn decode(bytes: &Bytes, key: &str) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (stamp, rest) = rest.split_first_chunk::<16>()?;
        let (read_at, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if *format != Self::FORMAT || rest.get(..length)? != key.as_bytes() {
            return None;
        }
        let body = bytes.slice(Self::OVERHEAD + length..);
        simdutf8::basic::from_utf8(&body).ok()?;
        Some(Self { stamp: Stamp::from_bytes(*stamp), read_at: Micros(u64::from_be_bytes(*read_at)), body })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(key in "[ -~]{0,300}", body in any::<String>(), stamp in any::<[u8; 16]>(), at in any::<u64>()) {
            let envelope = Envelope { stamp: Stamp::from_bytes(stamp), read_at: Micros(at), body: Bytes::from(body) };
            prop_assert_eq!(Envelope::decode(&envelope.encode(&key), &key), Some(envelope));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), key in any::<String>()) {
            let _ = Envelope::decode(&Bytes::from(bytes), &key);
        }

        #[test]
        fn another_key_or_a_cut_is_refused(body in "[a-z]{0,9}", cut in 1usize..20) {
            let envelope = Envelope { stamp: Stamp::from_bytes([7; 16]), read_at: Micros(1), body: Bytes::from(body) };
            let bytes = envelope.encode("blog/f/a");
            prop_assert_eq!(Envelope::decode(&bytes, "blog/f/b"), None);
            prop_assert_eq!(Envelope::decode(&bytes, "blog/f/aa"), None);
            let header = Envelope::OVERHEAD + "blog/f/a".len();
            prop_assert_eq!(Envelope::decode(&bytes.slice(..header.saturating_sub(cut)), "blog/f/a"), None);
        }
    }
}
