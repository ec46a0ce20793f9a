//! A hit at a glance, on a store that has no markers: most lookups of the embedded store are of one fragment, and hits.
//!
//! It reads what a [`Lookup`](super::Lookup) reads, in the same order, and believes the same of it, but it sees nothing else than a hit: it
//! repairs nothing, compacts nothing, takes no lease, and asks no clock: a mark that nobody has released holds, however long
//! ago its deadline was. Whatever it does not see is left to the machine.

use smallvec::SmallVec;

use super::query::{Cached, Part, Query};
use super::{Envelope, Rules};
use crate::Micros;
use crate::store::{Op, Reply};
use crate::version::{StampBuilder, VersionLog};

impl Query {
    /// What to read: the logs, then the fragment. `None` if the fragment may not be looked up at all.
    pub fn glance(&self) -> Option<SmallVec<[Op; 2]>> {
        if self.refused.is_some() {
            return None;
        }
        let mut ops: SmallVec<[Op; 2]> = self.logs().map(|log| Op::get(log.node, log.key.clone())).collect();
        ops.push(Op::get(self.node, self.store_key.clone()));
        Some(ops)
    }

    /// The fragment, if these replies to [`glance`](Self::glance) show that it is valid.
    pub fn seen(&self, rules: &Rules, replies: &[Reply]) -> Option<Cached> {
        let (fragment, logs) = replies.split_last()?;
        let cached = Cached::from(Envelope::decode(fragment.value()?, &self.full_key)?);
        let (mut stamp, mut logs) = (StampBuilder::default(), logs.iter());
        for part in &self.parts {
            match part {
                Part::Row(digest) => stamp.row(*digest),
                Part::Log(_) => {
                    let bytes = logs.next()?.value()?;
                    // No deadline is before the beginning of time.
                    if VersionLog::parse(bytes).ok()?.is_held(Micros(0), rules.skew) {
                        return None;
                    }
                    stamp.token(VersionLog::token(bytes));
                }
            }
        }
        // Where there are markers, or new logs wait, more is to be looked at.
        (!rules.markers && !rules.strict && stamp.finish() == cached.stamp).then_some(cached)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{Found, Input, Lookup, Machine, QueryContext, Step};
    use crate::registry::Graph;
    use crate::store::router::Router;
    use crate::store::{Action, StoreInfo};
    use crate::version::{Event, Stamp, Uid};
    use crate::{Config, Dependency, RecordKey, Tick, Ttl, keys::Namespace};

    fn uid(number: u64) -> Uid {
        Uid::new(Tick { now: Micros(number), random: number })
    }

    fn log() -> impl Strategy<Value = Option<Vec<u8>>> {
        let event = (0..3_u8, 0..3_u64, 0..20_u64).prop_map(|(kind, number, at)| match kind {
            0 => Event::Mark { uid: uid(number), deadline: Micros(at) },
            1 => Event::Release { uid: uid(number), birth: Micros(at) },
            _ => Event::Quarantine { head: uid(0), deadline: Micros(at) },
        });
        let sound = proptest::collection::vec(event, 0..14)
            .prop_map(|events| events.into_iter().fold(VersionLog::fresh(uid(0)), VersionLog::with).to_bytes());
        prop_oneof![8 => sound.prop_map(Some), 1 => any::<Vec<u8>>().prop_map(Some), 1 => Just(None)]
    }

    fn reply(bytes: Option<Vec<u8>>) -> Reply {
        bytes.map_or(Reply::No, |bytes| Reply::Value(bytes.into()))
    }

    proptest! {
        /// The machine says the same of the same replies. Only where a mark was never released, the machine may see that its
        /// deadline is over, and the glance does not.
        #[test]
        fn it_sees_what_a_lookup_finds(one in log(), two in log(), right in prop::bool::weighted(0.8), other in prop::bool::weighted(0.1), now in 0..20_u64) {
            let info = StoreInfo { kind: "memory", nodes: vec!["memory".into()], keeps_holds: true, shared: false, max_item: 1 << 20 };
            let (rules, graph, namespace, router) = (Rules::new(&Config::default(), &info), Graph::default(), Namespace::new("t"), Router::new(&info.nodes));
            let context = QueryContext { namespace: &namespace, router: &router, graph: &graph, rules: &rules };
            let on = [1, 2].map(|id| Dependency { record: RecordKey::new("comment", id), row: None });
            let query = Query::new(&context, "f", &on, &[], Some(Ttl::days(1)), None);
            let token = |log: &Option<Vec<u8>>| VersionLog::token(log.as_deref().unwrap_or_default());
            let mut stamp = StampBuilder::default();
            stamp.token(token(&one));
            stamp.token(token(&two));
            let stamp = if right { stamp.finish() } else { Stamp::from_bytes([7; 16]) };
            let key = if other { "t/f/another" } else { &**query.full_key() };
            let envelope = Envelope { stamp, read_at: Micros(1), body: Bytes::from_static(b"body") }.encode(key);
            let unreleased = [&one, &two].into_iter().flatten().any(|log| VersionLog::parse(log).is_ok_and(|log| log.is_held(Micros(0), Micros(0))));
            let replies = vec![reply(one), reply(two), Reply::Value(envelope)];
            let tick = Tick { now: Micros(now), random: 1 };

            let ops = query.glance().expect("it may be looked up");
            let seen = query.seen(&rules, &replies);
            let mut lookup = Lookup::new(rules, namespace.marker(), vec![query]);
            let Step::Run(asked) = lookup.advance(Input::Start, tick) else { panic!("it reads") };
            prop_assert_eq!(&ops[..], &asked[..], "the same, in the same order");
            let found = match lookup.advance(Input::Replies(replies), tick) {
                Step::Done(lookups) => Some(lookups.found),
                Step::Run(repairs) => {
                    prop_assert!(repairs.iter().any(|op| op.action != Action::Get));
                    None
                }
                Step::Sleep(_) => None,
            };
            match (seen, found.as_deref()) {
                (Some(seen), Some([Found::Hit(hit)])) => prop_assert_eq!(&seen, hit),
                (None, Some([Found::Hit(_)])) => prop_assert!(unreleased, "a hit was not seen"),
                (Some(_), _) => prop_assert!(false, "what is no hit was seen as one"),
                (None, _) => {}
            }
        }
    }
}
