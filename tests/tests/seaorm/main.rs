//! What only SeaORM has: hooks without a wrapped connection, `begin` and `commit`, active models, and callers that go away.

mod callers;
mod plain;
mod saves;
mod send;
mod transactions;
mod zoned;
