//! What every ORM promises, on every database and every store. Written once; what differs between the ORMs is in
//! `cachesweeper_tests::orm`.

mod outages;
mod plain;
mod propagation;
mod reads;
mod timestamps;
mod transactions;
