//! The async driver: runs machines against the store, and delivers what is owed to it.

use std::future::Future;
use std::sync::{Arc, Weak};

use super::{Inner, Sweeper};
use crate::face::Face;
use crate::protocol::{Input, Machine, Step};
use crate::shared::{Mark, Shared, merge};
use crate::store::{Op, Reply};

impl Sweeper {
    pub(super) async fn run(&self, ops: Vec<Op>) -> Vec<Reply> {
        let ops = self.shared().outgoing(ops);
        let admitted = self.shared().admit(&ops);
        let mut replies = match admitted {
            None => self.inner.store.run(&ops).await,
            Some(admitted) => {
                let sent: Vec<Op> = ops.iter().zip(&admitted).filter(|(_, reply)| reply.is_none()).map(|(op, _)| op.clone()).collect();
                let answered = if sent.is_empty() { Vec::new() } else { self.inner.store.run(&sent).await };
                merge(admitted, answered)
            }
        };
        self.shared().observe(&ops, &mut replies);
        replies
    }
}

impl Face for Sweeper {
    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    async fn drive<M: Machine + Send>(&self, mut machine: M) -> M::Output
    where
        M::Output: Send,
    {
        let mut input = Input::Start;
        loop {
            input = match machine.advance(input, self.shared().clock.tick()) {
                Step::Run(ops) => Input::Replies(self.run(ops).await),
                Step::Sleep(length) => {
                    tokio::time::sleep(length).await;
                    Input::Slept
                }
                Step::Done(output) => return output,
            };
        }
    }

    /// Delivers what is owed to the store, in a task of its own that ends when nothing is owed any more.
    fn deliver_later(&self) {
        if self.shared().owes() && self.shared().start_delivering() {
            tokio::spawn(deliver(Arc::downgrade(&self.inner)));
        }
    }

    async fn hold_while<T: Send>(&self, mark: &mut Mark, commit: impl Future<Output = T> + Send) -> T {
        let hold = self.config().hold.into();
        let mut commit = std::pin::pin!(commit);
        loop {
            tokio::select! {
                // In a fixed order: a COMMIT that has returned needs no renewal, and a simulation runs the same twice.
                biased;
                result = &mut commit => return result,
                () = tokio::time::sleep(mark.renew_in(hold, self.now()).into()) => self.renew(mark).await,
            }
        }
    }

    fn hold_on(&self, mut mark: Mark) {
        let sweeper = self.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::error!("a hold cannot be kept up outside of a runtime; it ends by itself");
            return;
        };
        runtime.spawn(async move {
            let until = tokio::time::Instant::now() + sweeper.config().unknown_commit_limit;
            while tokio::time::Instant::now() < until {
                sweeper.renew(&mut mark).await;
                tokio::time::sleep(sweeper.config().hold / 2).await;
            }
            sweeper.release(&mark).await;
        });
    }
}

async fn deliver(inner: Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        let sweeper = Sweeper { inner };
        sweeper.deliver().await;
        if !sweeper.shared().owes() {
            sweeper.shared().stop_delivering();
            if !sweeper.shared().owes() || !sweeper.shared().start_delivering() {
                return;
            }
        }
        let interval = sweeper.config().retry_interval;
        drop(sweeper);
        tokio::time::sleep(interval).await;
    }
}
