//! Keys: whatever users type, one printable ASCII word of at most 250 bytes, and never two inputs with one key.
#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use cachesweeper_core::keys::{MAX_KEY, Namespace, store_key};
use cachesweeper_core::registry::Entity;
use cachesweeper_core::version::Stamp;
use cachesweeper_core::{Dependency, RecordKey, Row};
use cachesweeper_fuzz::entity;
use libfuzzer_sys::fuzz_target;

static ENTITY: Entity = entity();

#[derive(Arbitrary, Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    entity: String,
    id: Vec<String>,
    in_hand: bool,
}

#[derive(Arbitrary, Clone, Debug, PartialEq, Eq, Hash)]
struct Parts {
    namespace: String,
    name: String,
    // At least one: a fragment of nothing is not looked up.
    first: Record,
    more: Vec<Record>,
    vary: Vec<String>,
}

impl Record {
    fn key(&self) -> RecordKey {
        let key = RecordKey::composite(&self.entity, &self.id);
        if !self.id.is_empty() {
            assert!(key.id().eq(self.id.iter().map(String::as_str)), "an id comes back as it was given");
        }
        assert!(key.is_row());
        assert_ne!(key, RecordKey::collection(&self.entity));
        key
    }

    fn dependency(&self) -> Dependency {
        Dependency { record: self.key(), row: self.in_hand.then_some(Row { entity: &ENTITY, digest: 0, updated_at: None }) }
    }
}

fn checked(key: Arc<str>) -> Arc<str> {
    assert!(key.bytes().all(|byte| byte.is_ascii_graphic()), "{key:?}");
    key
}

impl Parts {
    fn full(&self) -> Arc<str> {
        let on: Vec<Dependency> = std::iter::once(&self.first).chain(&self.more).map(Record::dependency).collect();
        checked(Namespace::new(&self.namespace).fragment(&self.name, &on, &self.vary))
    }
}

fuzz_target!(|input: (Parts, Parts, u8)| {
    let (left, mut right, share) = input;
    // Mostly alike, so that a difference has to show where it is.
    if share & 1 != 0 {
        right.namespace.clone_from(&left.namespace);
    }
    if share & 2 != 0 {
        right.name.clone_from(&left.name);
    }
    if share & 4 != 0 {
        right.first = left.first.clone();
    }
    if share & 8 != 0 {
        right.more.clone_from(&left.more);
    }
    if share & 16 != 0 {
        right.vary.clone_from(&left.vary);
    }
    let (one, two) = (left.full(), right.full());
    assert_eq!(left == right, one == two, "{one} {two}");

    let mut stored = HashMap::new();
    for parts in [&left, &right] {
        let namespace = Namespace::new(&parts.namespace);
        let (full, record) = (parts.full(), parts.first.key());
        let keys = [
            (store_key(&full), full.clone()),
            (namespace.log(&record), format!("log {} {record}", parts.namespace).into()),
            (namespace.lease(&full, Stamp::from_bytes([0; 16])), format!("lease {} {full}", parts.namespace).into()),
            (namespace.marker(), format!("marker {}", parts.namespace).into()),
        ];
        for (key, what) in keys {
            // The namespace itself is bounded by the builder, not here.
            assert!(checked(key.clone()).len() <= MAX_KEY || parts.namespace.len() > 60);
            assert!(namespace.is_fragment(&key) == (what == full) || parts.namespace.len() > 60);
            let known = stored.entry(key).or_insert_with(|| what.clone());
            assert_eq!(*known, what, "two things under one key");
        }
    }
});
