//! `sweeper.transaction(conn, async |conn| …)`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use cachesweeper_core::Sweeper;
use diesel::result::Error as DieselError;
use diesel_async::TransactionManager;
use futures_util::FutureExt as _;

use super::connection::{AsyncSweepConn, Asynchronous, open};
use crate::commit::commit;
use crate::connection::Open;
use crate::error::Error;
use crate::frames::{OpenFrame, Owner, Savepoint, owner, savepoint};

/// An async closure, with its future by name: only so can it be asked to be `Send`.
pub trait Body<A, R>: AsyncFnOnce(A) -> R + FnOnce(A) -> <Self as Body<A, R>>::Running {
    /// The closure under way.
    type Running: Future<Output = R>;
}

impl<F, A, R, Fut> Body<A, R> for F
where
    F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Running = Fut;
}

pub(super) async fn transaction<C, T, E, F>(sweeper: &Sweeper, conn: &mut C, f: F) -> Result<T, E>
where
    C: AsyncSweepConn,
    F: for<'c> Body<&'c mut C, Result<T, E>, Running: Send> + Send,
    T: Send,
    E: From<DieselError> + Send,
{
    let (identity, inside) = (conn.identity(), open(conn)?);
    match owner(sweeper, identity) {
        Owner::Other => Err(DieselError::from(Error::OtherSweeper { what: "the transaction".to_owned() }).into()),
        Owner::Ours => {
            let depth = inside.depth() + 1;
            C::TransactionManager::begin_transaction(conn).await?;
            savepoint(identity, depth, Savepoint::Begin);
            let ended = run(conn, f).await;
            savepoint(identity, depth, if ended.is_ok() { Savepoint::Release } else { Savepoint::Rollback });
            finish(conn, ended).await
        }
        // Its end is not ours to see, so its writes mark at once, as they would without this savepoint.
        Owner::Nobody if matches!(inside, Open::Transaction(_)) => {
            C::TransactionManager::begin_transaction(conn).await?;
            let ended = run(conn, f).await;
            finish(conn, ended).await
        }
        Owner::Nobody => {
            conn.begin_write().await?;
            let frame = OpenFrame::new(sweeper, identity);
            match run(conn, f).await {
                Ok(value) => {
                    let changes = frame.finish();
                    commit(sweeper, &mut Asynchronous(conn), changes).await?;
                    Ok(value)
                }
                Err(ended) => {
                    drop(frame);
                    finish(conn, Err(ended)).await
                }
            }
        }
    }
}

/// How a closure ended badly.
enum Ended<E> {
    Failed(E),
    Panicked(Box<dyn std::any::Any + Send>),
}

/// Runs the closure. The transaction must not stay open behind a panic that somebody catches.
async fn run<C, T, E, F>(conn: &mut C, f: F) -> Result<T, Ended<E>>
where
    C: AsyncSweepConn,
    F: for<'c> Body<&'c mut C, Result<T, E>, Running: Send> + Send,
    T: Send,
    E: Send,
{
    match AssertUnwindSafe(f(conn)).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Ended::Failed(error)),
        Err(panic) => Err(Ended::Panicked(panic)),
    }
}

/// Commits or rolls back, as Diesel does it: the closure's error, unless the rollback failed for a reason of its own.
async fn finish<C, T, E>(conn: &mut C, ended: Result<T, Ended<E>>) -> Result<T, E>
where
    C: AsyncSweepConn,
    T: Send,
    E: From<DieselError> + Send,
{
    match ended {
        Ok(value) => {
            C::TransactionManager::commit_transaction(conn).await?;
            Ok(value)
        }
        Err(Ended::Failed(error)) => match C::TransactionManager::rollback_transaction(conn).await {
            Ok(()) | Err(DieselError::BrokenTransactionManager) => Err(error),
            Err(rollback) => Err(rollback.into()),
        },
        Err(Ended::Panicked(panic)) => {
            let _ = C::TransactionManager::rollback_transaction(conn).await;
            resume_unwind(panic)
        }
    }
}
