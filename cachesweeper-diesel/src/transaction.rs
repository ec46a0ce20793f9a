//! `sweeper.transaction(conn, |conn| …)`: one sweep at commit, nothing on rollback, savepoints inside.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cachesweeper_core::blocking::Sweeper;
use cachesweeper_core::face::now;
use diesel::connection::TransactionManager;
use diesel::result::Error as DieselError;

use crate::commit::commit;
use crate::connection::{Open, SweepConn, open};
use crate::db::Blocking;
use crate::error::Error;
use crate::frames::{OpenFrame, Owner, Savepoint, owner, savepoint};
use crate::watcher::announce;

pub(crate) fn transaction<C, T, E, F>(sweeper: &Sweeper, conn: &mut C, f: F) -> Result<T, E>
where
    C: SweepConn,
    F: FnOnce(&mut C) -> Result<T, E>,
    E: From<DieselError>,
{
    let (identity, inside) = (conn.identity(), open(conn)?);
    match owner(sweeper, identity) {
        Owner::Other => Err(DieselError::from(Error::OtherSweeper { what: "the transaction".to_owned() }).into()),
        Owner::Ours => nested(conn, identity, inside.depth() + 1, f),
        // Its end is not ours to see, so its writes mark at once, as they would without this savepoint.
        Owner::Nobody if matches!(inside, Open::Transaction(_)) => conn.transaction(f),
        Owner::Nobody => outermost(sweeper, conn, identity, f),
    }
}

fn outermost<C, T, E, F>(sweeper: &Sweeper, conn: &mut C, identity: usize, f: F) -> Result<T, E>
where
    C: SweepConn,
    F: FnOnce(&mut C) -> Result<T, E>,
    E: From<DieselError>,
{
    announce(identity, || conn.begin_write())?;
    let frame = OpenFrame::new(sweeper, identity);
    // The transaction must not stay open behind a panic that somebody catches.
    match catch_unwind(AssertUnwindSafe(|| f(conn))) {
        Ok(Ok(value)) => {
            let changes = frame.finish();
            now(commit(sweeper, &mut Blocking(conn), changes))?;
            Ok(value)
        }
        Ok(Err(error)) => {
            drop(frame);
            roll_back(conn, error)
        }
        Err(panic) => {
            drop(frame);
            let _ = C::TransactionManager::rollback_transaction(conn);
            resume_unwind(panic)
        }
    }
}

fn nested<C, T, E, F>(conn: &mut C, identity: usize, depth: u32, f: F) -> Result<T, E>
where
    C: SweepConn,
    F: FnOnce(&mut C) -> Result<T, E>,
    E: From<DieselError>,
{
    C::TransactionManager::begin_transaction(conn)?;
    savepoint(identity, depth, Savepoint::Begin);
    match catch_unwind(AssertUnwindSafe(|| f(conn))) {
        Ok(Ok(value)) => {
            C::TransactionManager::commit_transaction(conn)?;
            savepoint(identity, depth, Savepoint::Release);
            Ok(value)
        }
        Ok(Err(error)) => {
            savepoint(identity, depth, Savepoint::Rollback);
            roll_back(conn, error)
        }
        Err(panic) => {
            savepoint(identity, depth, Savepoint::Rollback);
            let _ = C::TransactionManager::rollback_transaction(conn);
            resume_unwind(panic)
        }
    }
}

/// As Diesel does it: the closure's error, unless the rollback failed for a reason of its own.
fn roll_back<C, T, E>(conn: &mut C, error: E) -> Result<T, E>
where
    C: SweepConn,
    E: From<DieselError>,
{
    match C::TransactionManager::rollback_transaction(conn) {
        Ok(()) | Err(DieselError::BrokenTransactionManager) => Err(error),
        Err(rollback) => Err(rollback.into()),
    }
}
