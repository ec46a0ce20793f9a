//! Model checking: every interleaving of small scenarios of writers, readers and faults, on the production code.
pub mod db;
pub mod hashed;
pub mod model;
mod reader;
pub mod run;
pub mod scenarios;
pub mod scheme;
pub mod seen;
pub mod setup;
pub mod state;
pub mod store;
pub mod table;
mod tell;
pub mod world;
mod writer;
