//! Sealing fragments on their way to the store, and opening them on their way back, if the application has a secret.

use super::Shared;
use crate::store::{Op, Reply};

#[cfg(feature = "hmac")]
impl Shared {
    /// Whether fragments are sealed.
    pub(crate) fn seals(&self) -> bool {
        self.config.seal.is_set()
    }

    /// The operations with fragments sealed.
    pub(super) fn sealed(&self, mut ops: Vec<Op>) -> Vec<Op> {
        if !self.config.seal.is_set() {
            return ops;
        }
        for op in &mut ops {
            if let crate::store::Action::Set(value, _) = &mut op.action
                && self.namespace.is_fragment(&op.key)
            {
                *value = self.config.seal.seal(value);
            }
        }
        ops
    }

    /// Opens the fragments among the replies. One that was not sealed with a known secret is taken for missing, so that it is
    /// rendered and overwritten.
    pub(super) fn open_seals(&self, ops: &[Op], replies: &mut [Reply]) {
        if !self.config.seal.is_set() {
            return;
        }
        for (op, reply) in ops.iter().zip(replies) {
            let Reply::Value(sealed) = &*reply else { continue };
            if !self.namespace.is_fragment(&op.key) {
                continue;
            }
            *reply = self.config.seal.open(sealed).map_or_else(
                || {
                    crate::stats::Counters::bump(&self.counters.forged);
                    if self.first_time("forged") {
                        tracing::warn!(
                            key = &*op.key,
                            "a fragment in the store is not sealed with this application's secret; it is rendered and overwritten. Expected \
                             once after the secret was set or changed; else find out who writes to the store"
                        );
                    }
                    Reply::No
                },
                Reply::Value,
            );
        }
    }
}

#[cfg(not(feature = "hmac"))]
impl Shared {
    pub(crate) fn seals(&self) -> bool {
        false
    }

    pub(super) fn sealed(&self, ops: Vec<Op>) -> Vec<Op> {
        ops
    }

    pub(super) fn open_seals(&self, _: &[Op], _: &mut [Reply]) {}
}
