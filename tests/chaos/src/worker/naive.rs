//! Schemes to compare with: a version per record, replaced by each write, without marks.
//!
//! They are as good as they can be otherwise: versions are random, so none returns, and a fragment is stored under the version
//! that was read before its data.

use std::time::Duration;

use bytes::Bytes;
use cachesweeper_core::Ttl;
use cachesweeper_core::store::memcached::{MemcachedOptions, MemcachedStore};
use cachesweeper_core::store::{Action, Op, Reply, Store};

use super::plan::Written;
use crate::history::Form;
use crate::spec::{Naive, Spec};

/// Versions and fragments, on memcached.
#[derive(Debug)]
pub(super) struct Cache {
    scheme: Naive,
    namespace: String,
    store: MemcachedStore,
}

/// What a lookup has found.
#[derive(Clone, Debug)]
pub(super) enum Looked {
    Hit(String),
    /// Render, and store it under this version.
    Miss(Bytes),
    /// Render.
    Down,
}

fn fresh() -> Bytes {
    format!("{:016x}", fastrand::u64(..)).into()
}

impl Cache {
    pub(super) fn new(scheme: Naive, spec: &Spec) -> Self {
        let timeout = Duration::from_millis(spec.times.store_timeout_ms);
        let store = MemcachedStore::new(&MemcachedOptions { servers: spec.nodes.clone(), timeout });
        Self { scheme, namespace: spec.namespace.clone(), store }
    }

    fn op(&self, form: Form, id: i64, what: &str, action: Action) -> Op {
        let (kind, place) = if form == Form::Comment { ("c", id as usize) } else { ("a", id as usize) };
        Op { node: place % self.store.info().nodes.len(), key: format!("{}/{what}/{kind}/{id}", self.namespace).into(), action }
    }

    /// Replaces the versions of what was written, inside the transaction.
    pub(super) fn after_save(&self, written: &Written) {
        if self.scheme == Naive::AfterSave {
            self.replace(written);
        }
    }

    /// The same, after COMMIT.
    pub(super) fn after_commit(&self, written: &Written) {
        if self.scheme == Naive::AfterCommit {
            self.replace(written);
        }
    }

    fn replace(&self, written: &Written) {
        let articles = written.articles().into_iter().map(|id| (Form::Key, id));
        let records = articles.chain(written.comments().map(|id| (Form::Comment, id)));
        let ops: Vec<Op> = records.map(|(form, id)| self.op(form, id, "v", Action::Set(fresh(), Ttl::MAX))).collect();
        self.store.run(&ops);
    }

    pub(super) fn look_up(&self, form: Form, id: i64) -> Looked {
        let (version, page) = (self.op(form, id, "v", Action::Get), self.op(form, id, "f", Action::Get));
        let replies = self.store.run(&[version, page]);
        let version = match &replies[..] {
            [Reply::Value(version), Reply::Value(page)] if page.starts_with(version) => {
                return Looked::Hit(String::from_utf8_lossy(&page[version.len()..]).into_owned());
            }
            [Reply::Value(version), _] => version.clone(),
            [Reply::No, _] => {
                let version = fresh();
                self.store.run(&[self.op(form, id, "v", Action::Add(version.clone(), Ttl::MAX))]);
                version
            }
            _ => return Looked::Down,
        };
        Looked::Miss(version)
    }

    pub(super) fn fill(&self, form: Form, id: i64, version: &Bytes, page: &str) {
        let value = [version, page.as_bytes()].concat();
        self.store.run(&[self.op(form, id, "f", Action::Set(value.into(), Ttl::MAX))]);
    }
}
