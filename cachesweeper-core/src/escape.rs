//! Escaping of text that goes into keys: whatever a user types, a key stays one printable ASCII word.
//!
//! Percent-encoding as in URIs (RFC 3986, section 2.1): unreserved characters stay, every other byte becomes `%XX`. So no
//! text can contain a separator of ours, a space or a line break.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Which bytes stay as they are. A table, since most keys are nothing but such bytes.
const PLAIN: [bool; 256] = {
    let (mut plain, mut byte) = ([false; 256], 0_u8);
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    plain
};

fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

fn push(text: &str, out: &mut String, plain: impl Fn(u8) -> bool) {
    if text.bytes().all(&plain) {
        out.push_str(text);
        return;
    }
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Appends one part of an id, a name or a `vary` value. The empty text becomes `%`, so that no two lists of parts look alike.
pub(crate) fn part(text: &str, out: &mut String) {
    if text.is_empty() {
        out.push('%');
    } else {
        push(text, out, is_plain);
    }
}

/// Appends one part of an id from its display form, without a text of its own.
pub(crate) fn displayed(part: impl fmt::Display, out: &mut String) {
    struct Escaped<'a>(&'a mut String);
    impl fmt::Write for Escaped<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            push(text, self.0, is_plain);
            Ok(())
        }
    }
    let before = out.len();
    // An error would be the display form's own: what it has written until then is the part, as with `to_string` it would panic.
    let _ = write!(Escaped(out), "{part}");
    if out.len() == before {
        out.push('%');
    }
}

/// Appends an entity's name (`table`, or `schema.table`).
pub(crate) fn entity(text: &str, out: &mut String) {
    push(text, out, is_plain);
}

/// Undoes [`part`].
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if text == "%" {
        return Cow::Borrowed("");
    }
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (byte, digit(0).zip(digit(1))) {
            (b'%', Some((high, low))) => {
                // Two hexadecimal digits fit a byte.
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => bytes.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_part_comes_back_and_holds_no_separator(text in any::<String>()) {
            let mut out = String::new();
            part(&text, &mut out);
            prop_assert_eq!(unescape(&out), text.as_str());
            prop_assert!(out.bytes().all(|byte| byte.is_ascii_graphic() && !b":,*+/#!".contains(&byte)));
            let mut same = String::new();
            displayed(&text, &mut same);
            prop_assert_eq!(same, out);
        }

        #[test]
        fn unescaping_anything_does_not_panic(text in any::<String>()) {
            let _ = unescape(&text);
        }
    }
}
