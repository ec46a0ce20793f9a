//! Which kind of connection a hook was given.
//!
//! SeaORM's hooks are generic over the connection, and a connection type need not be `'static`, so `Any` cannot tell. This is
//! the one place with `unsafe` code.
#![allow(unsafe_code)]

use std::any::TypeId;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction};

use crate::{SweepConnection, SweepTransaction};

/// A connection, recognised.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Our transaction: its end is seen.
    Transaction(&'a SweepTransaction),
    /// Our connection, outside a transaction.
    Connection(&'a SweepConnection),
    /// SeaORM's connection, outside a transaction.
    Database(&'a DatabaseConnection),
    /// SeaORM's transaction: its end cannot be seen.
    PlainTransaction,
    /// Anything else.
    Unknown,
}

/// `db` as a `T`, if it is one.
fn cast<C, T: 'static>(db: &C) -> Option<&T> {
    if typeid::of::<C>() != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: `typeid::of` gives the id of `C` with all lifetimes made 'static. It equals that of `T`, so `C` is `T` but for
    // lifetimes, and `T: 'static` has none: they are the same type. The reference's own lifetime is kept.
    Some(unsafe { &*std::ptr::from_ref(db).cast::<T>() })
}

pub(crate) fn recognise<C: ConnectionTrait>(db: &C) -> Place<'_> {
    if let Some(txn) = cast::<C, SweepTransaction>(db) {
        return Place::Transaction(txn);
    }
    if let Some(connection) = cast::<C, SweepConnection>(db) {
        return Place::Connection(connection);
    }
    if let Some(connection) = cast::<C, DatabaseConnection>(db) {
        return Place::Database(connection);
    }
    if cast::<C, DatabaseTransaction>(db).is_some() {
        return Place::PlainTransaction;
    }
    Place::Unknown
}
