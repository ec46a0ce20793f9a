//! Compressed fragments: what is larger than a threshold is stored smaller, if it becomes smaller.
//!
//! ```text
//! compressed fragment = format(3) stamp(16) tokens-read-at(8) key-length(4) key body-length(4) checksum(8) block
//! ```
//!
//! The block is the body in LZ4's block format, the checksum the XXH3-64 of the body: one wrong bit in a block can garble much of a page,
//! and still be text. All that is ahead of it stays as it is in an [`Envelope`], so only the body has to be
//! made again. This happens between the machines and the store, in the drivers, inside of the seal; the machines know nothing of it.

use bytes::{BufMut, Bytes};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use xxhash_rust::xxh3::xxh3_64;

use super::Envelope;

/// Compresses fragments whose body is larger than a threshold, and reads those that were compressed with any.
///
/// ```
/// use bytes::Bytes;
/// use cachesweeper_core::protocol::{Compression, Envelope};
/// use cachesweeper_core::{Micros, version::Stamp};
///
/// let body = Bytes::from("<li>First!</li>".repeat(100));
/// let envelope = Envelope { stamp: Stamp::from_bytes([7; 16]), read_at: Micros(1), body }.encode("blog/f/comments/article:1");
/// let compressed = Compression::above(1024).compress(&envelope).expect("it is smaller");
/// assert!(compressed.len() < envelope.len() / 10);
/// assert_eq!(Compression::decompress(&compressed), Some(envelope));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    above: usize,
}

impl Compression {
    /// The first byte of a compressed fragment.
    pub const FORMAT: u8 = 3;

    /// Bytes of a compressed fragment beside its head and its block.
    const OVERHEAD: usize = 4 + 8;

    /// The largest body that is compressed, or made of a compressed one: 16 MiB. It bounds what a hostile item can cost. And it keeps
    /// lengths inside of a block below 2^32, so that no sum of the decoder's can overflow where `usize` has 32 bits.
    pub const MOST: usize = 16 << 20;

    /// How much larger than its block a body can be, at most: a length inside of a block grows by 255 with each byte of it.
    const MOST_PER_BYTE: usize = 255;

    /// Compresses bodies of more than this many bytes.
    pub const fn above(bytes: usize) -> Self {
        Self { above: bytes }
    }

    /// The compressed form of an [`Envelope`]'s wire form; `None` if it is to be stored as it is, because its body is not above the
    /// threshold or would not become smaller.
    pub fn compress(self, envelope: &Bytes) -> Option<Bytes> {
        let at = body_at(envelope, Envelope::FORMAT)?;
        let (head, body) = envelope.split_at(at);
        if body.len() <= self.above || body.len() > Self::MOST {
            return None;
        }
        let mut compressed = Vec::with_capacity(at + Self::OVERHEAD + get_maximum_output_size(body.len()));
        compressed.extend_from_slice(head);
        compressed[0] = Self::FORMAT;
        compressed.put_u32(u32::try_from(body.len()).ok()?);
        compressed.put_u64(xxh3_64(body));
        let block_at = compressed.len();
        compressed.resize(compressed.capacity(), 0);
        let block = compress_into(body, &mut compressed[block_at..]).ok()?;
        compressed.truncate(block_at + block);
        if compressed.len() >= envelope.len() {
            return None;
        }
        // The embedded store keeps it: the spare room would be kept too.
        compressed.shrink_to_fit();
        Some(compressed.into())
    }

    /// The [`Envelope`]'s wire form that was compressed; `None` if this is not a compressed fragment, or is cut, damaged, or claims a
    /// length that cannot be. Whether the body is UTF-8 is for the envelope to check. Never panics.
    ///
    /// Allocates at most what came, and the body: at most 255 times what came, and at most [`MOST`](Self::MOST).
    pub fn decompress(compressed: &Bytes) -> Option<Bytes> {
        let at = body_at(compressed, Self::FORMAT)?;
        let (head, rest) = compressed.split_at(at);
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (checksum, block) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        // The claim is checked before anything is allocated. What did not become smaller is never stored compressed.
        if length > Self::MOST || length > block.len().saturating_mul(Self::MOST_PER_BYTE) || length <= Self::OVERHEAD + block.len() {
            return None;
        }
        let mut envelope = vec![0; at + length];
        envelope[..at].copy_from_slice(head);
        envelope[0] = Envelope::FORMAT;
        let made = decompress_into(block, &mut envelope[at..]).ok()?;
        let right = made == length && xxh3_64(&envelope[at..]) == u64::from_be_bytes(*checksum);
        right.then(|| envelope.into())
    }
}

/// Where an envelope's body begins, if the envelope has this format and is not cut before that.
fn body_at(envelope: &[u8], format: u8) -> Option<usize> {
    let (_, length) = envelope.first_chunk::<{ Envelope::OVERHEAD }>()?.split_last_chunk::<4>()?;
    let at = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(Envelope::OVERHEAD)?;
    (envelope[0] == format && at <= envelope.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Micros;
    use crate::version::Stamp;

    const KEY: &str = "blog/f/a/article:1";

    fn envelope(body: impl Into<Bytes>) -> Bytes {
        Envelope { stamp: Stamp::from_bytes([7; 16]), read_at: Micros(1), body: body.into() }.encode(KEY)
    }

    /// A compressed fragment that claims this length.
    fn claiming(length: u32, checksum: u64, block: &[u8]) -> Bytes {
        let mut bytes = envelope("").to_vec();
        bytes[0] = Compression::FORMAT;
        bytes.put_u32(length);
        bytes.put_u64(checksum);
        bytes.put_slice(block);
        bytes.into()
    }

    /// A block of this many bytes that makes as much as a block can: one letter, and its repetition.
    fn bomb(bytes: usize) -> (Vec<u8>, usize) {
        let mut block = vec![255; bytes];
        block[..4].copy_from_slice(&[0x1f, b'a', 1, 0]);
        block[bytes - 7..].copy_from_slice(b"\x00\x50bcdef");
        (block, 1 + 19 + 255 * (bytes - 11) + 5)
    }

    #[test]
    fn the_worked_example_of_the_wire_format_is_read_and_written() {
        let stamp = 0x0d15_61dd_7027_35e7_2b98_b0fd_f93c_c040_u128.to_be_bytes();
        let body = "<p>First!</p>".repeat(4);
        let envelope = Envelope { stamp: Stamp::from_bytes(stamp), read_at: Micros(1_700_000_070_000_000), body: body.into() };
        let envelope = envelope.encode("blog/f/comment.html/~/comment:42/de");
        let compressed = Compression::above(0).compress(&envelope).expect("it repeats itself");
        assert_eq!((compressed[0], &compressed[1..64]), (3, &envelope[1..64]));
        let hex: String = compressed[64..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0000003413bf79f7759607dedf3c703e4669727374213c2f703e0d000e6074213c2f703e");
        assert_eq!(Compression::decompress(&compressed), Some(envelope));
    }

    #[test]
    fn as_much_as_a_block_can_make_is_made_and_no_claim_beyond_is_believed() {
        let (block, length) = bomb(4_000);
        let body = [&vec![b'a'; length - 5][..], b"bcdef"].concat();
        let checksum = xxh3_64(&body);
        let claims = |length: usize| claiming(length as u32, checksum, &block);
        assert_eq!(Compression::decompress(&claims(length)), Some(envelope(body)));
        for wrong in
            [0, 1, block.len(), block.len() + 12, length - 1, length + 1, 4_000 * 255, 4_000 * 255 + 1, 16 << 20, u32::MAX as usize]
        {
            assert_eq!(Compression::decompress(&claims(wrong)), None, "{wrong}");
        }
        let (huge, length) = bomb((Compression::MOST / 255) + 100);
        assert!(length > Compression::MOST);
        assert_eq!(Compression::decompress(&claiming(length as u32, checksum, &huge)), None);
    }

    #[test]
    fn the_threshold_and_the_largest_body_are_kept() {
        let compression = Compression::above(1_000);
        assert_eq!(compression.compress(&envelope(vec![b'a'; 1_000])), None);
        assert!(compression.compress(&envelope(vec![b'a'; 1_001])).is_some());
        let largest = envelope(vec![b'a'; Compression::MOST]);
        let compressed = compression.compress(&largest).expect("it is smaller");
        assert_eq!(Compression::decompress(&compressed), Some(largest));
        assert_eq!(compression.compress(&envelope(vec![b'a'; Compression::MOST + 1])), None);
        // The largest number that a builder can be given: off.
        assert_eq!(Compression::above(usize::MAX).compress(&envelope(vec![b'a'; 9_999])), None);
    }

    #[test]
    fn what_does_not_become_smaller_stays_as_it_is() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..5_000).map(|_| random.u8(..)).collect();
        assert_eq!(Compression::above(0).compress(&envelope(noise)), None);
        for length in 0..13 {
            assert_eq!(Compression::above(0).compress(&envelope(vec![b'a'; length])), None);
        }
    }

    #[test]
    fn a_body_that_is_no_text_is_refused_by_its_envelope() {
        let compressed = Compression::above(0).compress(&envelope(vec![0xff; 500])).expect("it is smaller");
        let whole = Compression::decompress(&compressed).expect("it is whole");
        assert_eq!(Envelope::decode(&whole, KEY), None);
    }

    fn html() -> impl Strategy<Value = String> {
        prop::collection::vec("<p class=\"[a-c]{1,3}\">|</p>|[a-zé🦀 ]{0,20}", 0..60).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_was_compressed_is_made_whole(body in html(), above in 0usize..2_000) {
            let envelope = envelope(body.clone());
            match Compression::above(above).compress(&envelope) {
                Some(compressed) => {
                    prop_assert!(body.len() > above && compressed.len() < envelope.len());
                    prop_assert_eq!(Envelope::decode(&compressed, KEY), None, "for a process without the feature it is a miss");
                    prop_assert_eq!(Compression::above(above).compress(&compressed), None);
                    prop_assert_eq!(Compression::decompress(&compressed), Some(envelope));
                }
                None => prop_assert_eq!(Compression::decompress(&envelope), None),
            }
        }

        #[test]
        fn cut_or_changed_ones_are_refused(body in html(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let envelope = envelope(format!("{body}{body}{}", "a".repeat(100)));
            let compressed = Compression::above(0).compress(&envelope).expect("it repeats itself");
            let cut = at.index(compressed.len());
            prop_assert_eq!(Compression::decompress(&compressed.slice(..cut)), None);
            let mut changed = compressed.to_vec();
            let body_at = Envelope::OVERHEAD + KEY.len();
            let place = body_at + at.index(compressed.len() - body_at);
            changed[place] ^= 1 << bit;
            // Two blocks can make the same body; another body than it was cannot come out.
            let whole = Compression::decompress(&changed.into());
            prop_assert!(whole.is_none_or(|whole| whole == envelope));
        }

        #[test]
        fn any_bytes_are_made_whole_or_refused(length in 0u32..9_000, block in any::<Vec<u8>>(), bytes in any::<Vec<u8>>()) {
            let _ = Compression::decompress(&claiming(length, 0, &block));
            let _ = Compression::decompress(&bytes.into());
        }
    }
}
