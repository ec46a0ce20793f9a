//! Version logs: any bytes are a log or refused; what a log says of its holds is what its events say.
#![no_main]

use cachesweeper_core::Micros;
use cachesweeper_core::version::{Event, Uid, VersionLog};
use cachesweeper_fuzz::Front;
use libfuzzer_sys::fuzz_target;

/// The rule of the wire format, written down once more in the plainest way.
fn is_open(log: &VersionLog, uid: Uid, now: Micros, skew: Micros) -> bool {
    let released = log.events().iter().any(|event| matches!(event, Event::Release { uid: other, .. } if *other == uid));
    let lasts = |event: &Event| matches!(event, Event::Mark { uid: other, deadline } if *other == uid && deadline.plus(skew) >= now);
    !released && log.events().iter().any(lasts)
}

fn check(log: &VersionLog, now: Micros, skew: Micros, head: Uid, event: Event) {
    let open = log.open(now, skew);
    for event in log.events() {
        if let Event::Mark { uid, .. } = *event {
            let found = open.iter().filter(|open| matches!(open, Event::Mark { uid: other, .. } if *other == uid)).count();
            assert_eq!(found, usize::from(is_open(log, uid, now, skew)));
        }
    }
    assert_eq!(log.is_held(now, skew), !open.is_empty());
    assert!(log.settled(Micros(0)) >= log.head().birth());
    assert!(log.settled(Micros(5)) >= log.settled(Micros(0)));

    let bytes = log.to_bytes();
    let compacted = log.compacted(head, now, skew);
    let again = VersionLog::parse(&compacted.to_bytes()).expect("what we write can be read");
    assert_eq!(again, compacted);
    assert_eq!(again.open(now, skew), open);
    assert_eq!(again.is_held(now.plus(skew), skew), log.is_held(now.plus(skew), skew));
    assert!(again.to_bytes().len() <= bytes.len());

    let longer = [&bytes[..], &event.to_bytes()].concat();
    let with = VersionLog::parse(&longer).expect("an event makes no log malformed");
    assert_eq!(with, log.clone().with(event));
    assert_ne!(VersionLog::token(&longer), VersionLog::token(&bytes));
    if matches!(event, Event::Mark { .. }) {
        assert!(with.is_held(now, skew) || !log.is_held(now, skew));
    }
}

fuzz_target!(|data: &[u8]| {
    let mut front = Front(data);
    let (now, skew, head) = (front.micros(), front.micros(), front.uid());
    let (uid, time) = (front.uid(), front.micros());
    let event = if front.byte() % 2 == 0 { Event::Mark { uid, deadline: time } } else { Event::Release { uid, birth: time } };

    // The rest as it is ...
    match VersionLog::parse(front.0) {
        Ok(log) => {
            assert_eq!(log.to_bytes(), front.0);
            check(&log, now, skew, head, event);
        }
        Err(malformed) => assert!(malformed.offset <= malformed.len && malformed.len == front.0.len()),
    }
    // ... and as the events of a log of few uids, so that marks and releases meet.
    let mut log = VersionLog::fresh(head);
    while !front.0.is_empty() {
        let (kind, uid, time) = (front.byte(), front.uid(), front.micros());
        log = log.with(if kind % 2 == 0 { Event::Mark { uid, deadline: time } } else { Event::Release { uid, birth: time } });
    }
    assert_eq!(VersionLog::parse(&log.to_bytes()).as_ref(), Ok(&log));
    check(&log, now, skew, uid, event);
});
