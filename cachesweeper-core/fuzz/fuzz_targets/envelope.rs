//! Envelopes, compressed ones, and their seals: any bytes are this key's fragment, or refused; and never another key's.
#![no_main]

use bytes::Bytes;
use cachesweeper_core::Micros;
use cachesweeper_core::protocol::{Compression, Envelope, Seal};
use cachesweeper_core::version::Stamp;
use cachesweeper_fuzz::Front;
use libfuzzer_sys::fuzz_target;

/// What is hostile with the length and the checksum of whatever its block makes: a fuzzer does not guess them.
fn with_right_claims(hostile: &Bytes, key: &str) -> Option<Bytes> {
    let (head, rest) = hostile.split_at_checked(Envelope::OVERHEAD + key.len())?;
    let (_, block) = rest.split_first_chunk::<12>()?;
    let mut body = vec![0; block.len() * 255];
    let made = lz4_flex::block::decompress_into(block, &mut body).ok()?;
    let checksum = xxhash_rust::xxh3::xxh3_64(&body[..made]).to_be_bytes();
    let length = u32::try_from(made).ok()?.to_be_bytes();
    Some([head, &length, &checksum, block].concat().into())
}

fuzz_target!(|data: &[u8]| {
    let mut front = Front(data);
    let (place, change) = (usize::from(front.byte()), front.byte());
    let (key, other) = (String::from_utf8_lossy(front.bytes()).into_owned(), String::from_utf8_lossy(front.bytes()).into_owned());
    let hostile = Bytes::copy_from_slice(front.0);

    if let Some(envelope) = Envelope::decode(&hostile, &key) {
        // Only the one encoding of this key, stamp, time and body is read as it.
        assert_eq!(envelope.encode(&key), hostile);
        assert!(std::str::from_utf8(&envelope.body).is_ok());
        assert!(key == other || Envelope::decode(&hostile, &other).is_none());
        assert!(Envelope::decode(&hostile, &format!("{key}a")).is_none());
    }

    let body = String::from_utf8_lossy(front.0).into_owned();
    let envelope = Envelope { stamp: Stamp::from_bytes([change; 16]), read_at: Micros(u64::from(change)), body: body.into() };
    let bytes = envelope.encode(&key);
    assert_eq!(Envelope::decode(&bytes, &key), Some(envelope));
    assert!(key == other || Envelope::decode(&bytes, &other).is_none());

    for compressed in [Some(hostile.clone()), with_right_claims(&hostile, &key)].into_iter().flatten() {
        if let Some(whole) = Compression::decompress(&compressed) {
            assert!(
                whole.len() > compressed.len() && whole.len() <= compressed.len() * 255 && Envelope::decode(&compressed, &key).is_none()
            );
            if let Some(envelope) = Envelope::decode(&whole, &key) {
                assert_eq!(envelope.encode(&key), whole);
                assert!(key == other || Envelope::decode(&whole, &other).is_none());
            }
            // Ours is another block of the same body, if ours is smaller than the body at all.
            let again = Compression::above(0).compress(&whole);
            assert!(again.is_none_or(|again| Compression::decompress(&again) == Some(whole)));
        }
    }
    match Compression::above(usize::from(change)).compress(&bytes) {
        Some(compressed) => {
            assert!(compressed.len() < bytes.len() && Envelope::decode(&compressed, &key).is_none());
            assert_eq!(Compression::decompress(&compressed).as_ref(), Some(&bytes));
            let mut damaged = compressed.to_vec();
            // Behind the key: what is ahead of that is compared, not compressed.
            let fixed = Envelope::OVERHEAD + key.len();
            let place = fixed + place % (damaged.len() - fixed);
            damaged[place] ^= change;
            assert!(Compression::decompress(&damaged.into()).is_none_or(|whole| whole == bytes));
            assert_eq!(Compression::decompress(&compressed.slice(..place)), None);
        }
        None => assert_eq!(Compression::decompress(&bytes), None),
    }

    let seal = Seal::default().with_secret(b"one secret of 32 bytes in length");
    // To make a seal without the secret is to break SHA-256.
    assert_eq!(seal.open(&hostile), None);
    assert_eq!(seal.open(&bytes), None);
    let sealed = seal.seal(&bytes);
    assert_eq!(seal.open(&sealed).as_ref(), Some(&bytes));
    assert_eq!(Envelope::decode(&sealed, &key), None);
    let mut forged = sealed.to_vec();
    let place = place % forged.len();
    forged[place] ^= change;
    assert!(change == 0 || seal.open(&forged.into()).is_none());
});
