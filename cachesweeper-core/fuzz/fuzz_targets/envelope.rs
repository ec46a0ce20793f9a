//! Envelopes and their seals: any bytes are this key's fragment, or refused; and never another key's.
#![no_main]

use bytes::Bytes;
use cachesweeper_core::Micros;
use cachesweeper_core::protocol::{Envelope, Seal};
use cachesweeper_core::version::Stamp;
use cachesweeper_fuzz::Front;
use libfuzzer_sys::fuzz_target;

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
