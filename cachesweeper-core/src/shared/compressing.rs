//! Compressing large fragments on their way to the store, and making them whole on their way back.

use super::Shared;
use crate::store::{Op, Reply};

#[cfg(feature = "compression")]
impl Shared {
    /// The operations with large fragments compressed.
    pub(super) fn compressed(&self, mut ops: Vec<Op>) -> Vec<Op> {
        let compression = crate::protocol::Compression::above(usize::try_from(self.config.compress_above).unwrap_or(usize::MAX));
        for op in &mut ops {
            if let crate::store::Action::Set(value, _) = &mut op.action
                && self.namespace.is_fragment(&op.key)
                && let Some(smaller) = compression.compress(value)
            {
                crate::stats::Counters::bump(&self.counters.compressed);
                crate::stats::Counters::add(&self.counters.compressed_saved, value.len() - smaller.len());
                *value = smaller;
            }
        }
        ops
    }

    /// Makes the compressed fragments among the replies whole. One that is damaged stays as it is: an envelope of a format that no
    /// machine knows is a miss, which is rendered and overwritten.
    pub(super) fn decompress(&self, ops: &[Op], replies: &mut [Reply]) {
        for (op, reply) in ops.iter().zip(replies) {
            if let Reply::Value(value) = reply
                && value.first() == Some(&crate::protocol::Compression::FORMAT)
                && self.namespace.is_fragment(&op.key)
                && let Some(whole) = crate::protocol::Compression::decompress(value)
            {
                *value = whole;
            }
        }
    }
}

#[cfg(not(feature = "compression"))]
impl Shared {
    pub(super) fn compressed(&self, ops: Vec<Op>) -> Vec<Op> {
        ops
    }

    pub(super) fn decompress(&self, _: &[Op], _: &mut [Reply]) {}
}
