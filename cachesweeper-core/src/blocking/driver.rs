//! The blocking driver: runs machines against the store, and delivers what is owed to it.

use std::future::Future;
use std::sync::{Arc, Weak};

use super::Sweeper;
use crate::face::{Face, now};
use crate::protocol::{Input, Machine, Step};
use crate::shared::{Mark, Shared, merge};
use crate::store::{Op, Reply, Store};

impl Sweeper {
    pub(super) fn run(&self, ops: Vec<Op>) -> Vec<Reply> {
        let ops = self.shared.outgoing(ops);
        let admitted = self.shared.admit(&ops);
        let mut replies = match admitted {
            None => self.store.run(&ops),
            Some(admitted) => {
                let sent: Vec<Op> = ops.iter().zip(&admitted).filter(|(_, reply)| reply.is_none()).map(|(op, _)| op.clone()).collect();
                let answered = if sent.is_empty() { Vec::new() } else { self.store.run(&sent) };
                merge(admitted, answered)
            }
        };
        self.shared.observe(&ops, &mut replies);
        replies
    }

    pub(crate) fn drive_now<M: Machine>(&self, mut machine: M) -> M::Output {
        let mut input = Input::Start;
        loop {
            input = match machine.advance(input, self.shared.clock.tick()) {
                Step::Run(ops) => Input::Replies(self.run(ops)),
                Step::Sleep(length) => {
                    std::thread::sleep(length);
                    Input::Slept
                }
                Step::Done(output) => return output,
            };
        }
    }
}

impl Face for Sweeper {
    fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn drive<M: Machine + Send>(&self, machine: M) -> impl Future<Output = M::Output> + Send
    where
        M::Output: Send,
    {
        std::future::ready(self.drive_now(machine))
    }

    fn hold_while<T: Send>(&self, mark: &mut Mark, commit: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
        std::future::ready(self.renew_while(mark, || now(commit)))
    }

    fn hold_on(&self, mark: Mark) {
        self.renew_on(mark);
    }

    /// Delivers what is owed to the store, on a thread of its own that ends when nothing is owed any more.
    fn deliver_later(&self) {
        if !self.shared.owes() || !self.shared.start_delivering() {
            return;
        }
        let (weak, store) = (Arc::downgrade(&self.shared), self.store.clone());
        let spawned = std::thread::Builder::new().name("cachesweeper-delivery".into()).spawn(move || deliver(&weak, &store));
        if let Err(error) = spawned {
            self.shared.stop_delivering();
            tracing::error!(%error, "no thread could be started to deliver invalidations; they are tried again with the next one");
        }
    }
}

fn deliver(shared: &Weak<Shared>, store: &Arc<dyn Store>) {
    while let Some(shared) = shared.upgrade() {
        let interval = shared.config.retry_interval;
        let sweeper = Sweeper { shared, store: store.clone() };
        now(sweeper.deliver());
        if !sweeper.shared.owes() {
            sweeper.shared.stop_delivering();
            if !sweeper.shared.owes() || !sweeper.shared.start_delivering() {
                return;
            }
        }
        drop(sweeper);
        std::thread::sleep(interval);
    }
}
