//! Seals around fragments: with the application's secret, so that a store which others can write to cannot put words into it.
//!
//! ```text
//! sealed fragment = format(2) tag(32) envelope
//! tag             = HMAC-SHA-256(secret, format(2) envelope)
//! ```
//!
//! The envelope has the whole key, the stamp, the time and the body, so the tag covers all of them: a sealed fragment that is moved
//! to another key, or changed in any byte, is refused. Sealing happens between the machines and the store, in the drivers; the
//! machines know nothing of it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Seals fragments, and opens those that were sealed with a secret that it knows.
///
/// The secrets are kept as keyed states alone, which are wiped when they are dropped; nothing prints them.
///
/// ```
/// use bytes::Bytes;
/// use cachesweeper_core::protocol::Seal;
///
/// let (new, old) = (b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210");
/// let before = Seal::default().with_secret(old);
/// let after = Seal::default().with_secret(new).accepting(old);
/// let envelope = Bytes::from_static(b"an envelope");
/// assert_eq!(after.open(&before.seal(&envelope)), Some(envelope.clone()));
/// assert_eq!(before.open(&after.seal(&envelope)), None);
/// ```
#[derive(Clone, Default)]
pub struct Seal {
    own: Option<Hmac<Sha256>>,
    others: Vec<Hmac<Sha256>>,
    /// Whether a secret is so short that it is a mistake: an empty environment variable, for example.
    too_short: bool,
}

impl Seal {
    /// The first byte of a sealed fragment.
    pub const FORMAT: u8 = 2;

    /// Bytes of a sealed fragment ahead of its envelope.
    pub const OVERHEAD: usize = 1 + 32;

    /// The least length of a secret, in bytes.
    pub const SHORTEST: usize = 16;

    fn keyed(&mut self, secret: &[u8]) -> Hmac<Sha256> {
        self.too_short |= secret.len() < Self::SHORTEST;
        Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")
    }

    /// Seals with this secret, and opens what was sealed with it.
    pub fn with_secret(mut self, secret: &[u8]) -> Self {
        self.own = Some(self.keyed(secret));
        self
    }

    /// Opens what was sealed with this one too.
    pub fn accepting(mut self, secret: &[u8]) -> Self {
        let other = self.keyed(secret);
        self.others.push(other);
        self
    }

    /// Whether fragments are sealed.
    pub fn is_set(&self) -> bool {
        self.own.is_some()
    }

    /// What is wrong with the secrets, in words that do not tell them.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.too_short {
            let least = Self::SHORTEST;
            return Some(format!("a secret is shorter than {least} bytes; give at least {least} random ones (is its variable empty?)"));
        }
        let alone = self.own.is_none() && !self.others.is_empty();
        alone.then(|| "also_accept_secret(…) is for a change of secrets: call .secret(…) with the one to seal with too".into())
    }

    /// The sealed form of an envelope; the envelope as it is if there is no secret.
    pub fn seal(&self, envelope: &Bytes) -> Bytes {
        let Some(own) = &self.own else { return envelope.clone() };
        let tag = own.clone().chain_update([Self::FORMAT]).chain_update(envelope).finalize().into_bytes();
        let mut sealed = BytesMut::with_capacity(Self::OVERHEAD + envelope.len());
        sealed.put_u8(Self::FORMAT);
        sealed.put_slice(&tag);
        sealed.put_slice(envelope);
        sealed.freeze()
    }

    /// The envelope of a sealed fragment; `None` if it was not sealed with a known secret. The tags are compared in constant
    /// time, and nothing is copied. Never panics.
    pub fn open(&self, sealed: &Bytes) -> Option<Bytes> {
        let (&[Self::FORMAT], rest) = sealed.split_first_chunk::<1>()? else { return None };
        let (tag, envelope) = rest.split_first_chunk::<32>()?;
        let opens = |key: &Hmac<Sha256>| key.clone().chain_update([Self::FORMAT]).chain_update(envelope).verify_slice(tag).is_ok();
        let known = self.own.iter().chain(&self.others).any(opens);
        known.then(|| sealed.slice(Self::OVERHEAD..))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "Seal(secret)" } else { "Seal(none)" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Micros;
    use crate::protocol::Envelope;
    use crate::version::Stamp;

    const SECRET: &[u8] = b"a secret of this test, 32 bytes.";

    fn envelope(key: &str, body: &str) -> Bytes {
        Envelope { stamp: Stamp::from_bytes([7; 16]), read_at: Micros(1), body: Bytes::copy_from_slice(body.as_bytes()) }.encode(key)
    }

    #[test]
    fn the_tag_is_that_of_rfc_2104_over_the_format_and_the_envelope() {
        // Made with OpenSSL: printf '\2envelope' | openssl dgst -sha256 -hmac 'a secret of this test, 32 bytes.'
        let sealed = Seal::default().with_secret(SECRET).seal(&Bytes::from_static(b"envelope"));
        let hex: String = sealed[1..33].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "4f99eeb18bad441e620b99b0b6dbd4f080e1ac383e35f7d81dfd4fdaf1017dba");
        assert_eq!((sealed[0], &sealed[33..]), (2, &b"envelope"[..]));
    }

    #[test]
    fn the_worked_example_of_the_wire_format_is_right() {
        let stamp = 0x0d15_61dd_7027_35e7_2b98_b0fd_f93c_c040_u128.to_be_bytes();
        let envelope = Envelope { stamp: Stamp::from_bytes(stamp), read_at: Micros(1_700_000_070_000_000), body: "<p>First!</p>".into() };
        let sealed =
            Seal::default().with_secret(b"a secret of 32 bytes, in example").seal(&envelope.encode("blog/f/comment.html/~/comment:42/de"));
        let hex: String = sealed[..33].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0229b436f6122908eb8ad6bfa60a11c98f60771347f5749a8cb2718af02426e9a5");
    }

    #[test]
    fn secrets_are_checked_and_never_shown() {
        let good = Seal::default().with_secret(SECRET).accepting(SECRET);
        assert_eq!(good.problem(), None);
        assert_eq!(format!("{good:?}"), "Seal(secret)");
        for bad in
            [Seal::default().with_secret(b""), Seal::default().with_secret(SECRET).accepting(b"short"), Seal::default().accepting(SECRET)]
        {
            let problem = bad.problem().expect("a mistake");
            assert!(!problem.contains("short\"") && !problem.contains("a secret of"), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn any_change_of_any_bit_is_refused(body in "[a-z<>]{0,40}", at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let seal = Seal::default().with_secret(SECRET);
            let sealed = seal.seal(&envelope("blog/f/a/comment:1", &body));
            let mut bytes = sealed.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(seal.open(&bytes.into()), None);
            prop_assert_eq!(seal.open(&sealed), Some(envelope("blog/f/a/comment:1", &body)));
        }

        #[test]
        fn neither_form_is_taken_for_the_other(body in "[a-z<>]{0,40}") {
            let plain = envelope("blog/f/a/comment:1", &body);
            let sealed = Seal::default().with_secret(SECRET).seal(&plain);
            prop_assert_eq!(Seal::default().with_secret(SECRET).open(&plain), None);
            prop_assert_eq!(Envelope::decode(&sealed, "blog/f/a/comment:1"), None);
            prop_assert_eq!(Seal::default().with_secret(b"another secret of 32 bytes......").open(&sealed), None);
        }

        #[test]
        fn any_bytes_are_opened_or_refused(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(Seal::default().with_secret(SECRET).open(&bytes.into()), None);
        }
    }
}
