//! Markers: any bytes are a marker or refused, and only a quarantine that names the head clears it.
#![no_main]

use cachesweeper_core::version::Marker;
use cachesweeper_fuzz::Front;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut front = Front(data);
    let (now, skew, head) = (front.micros(), front.micros(), front.uid());
    if let Some(marker) = Marker::parse(front.0) {
        assert_eq!(marker.is_clear(now, skew), marker.deadline().is_some_and(|deadline| deadline.plus(skew) < now));
        let bare = Marker::bare(marker.head());
        assert_eq!(front.0[..bare.len()], bare);
        assert_eq!((front.0.len() - bare.len()) % 25, 0);
        // Whatever is appended, a marker never becomes clear earlier than its latest own quarantine says.
        let longer = [front.0, &Marker::quarantine(head, now)].concat();
        let longer = Marker::parse(&longer).expect("a quarantine makes no marker malformed");
        assert!(longer.deadline() >= marker.deadline());
        assert!(head == marker.head() || longer == marker);
    }
    let mut bytes = Marker::bare(head);
    let mut latest = None;
    while !front.0.is_empty() {
        let (uid, deadline) = (front.uid(), front.micros());
        bytes.extend(Marker::quarantine(uid, deadline));
        if uid == head {
            latest = latest.max(Some(deadline));
        }
    }
    let marker = Marker::parse(&bytes).expect("what we write can be read");
    assert_eq!((marker.head(), marker.deadline()), (head, latest));
});
