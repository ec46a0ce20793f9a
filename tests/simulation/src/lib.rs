//! Deterministic simulation of the whole of the core, from a seed.
//!
//! The sweeper, its drivers, flights, leases, retries and what it owes are the production code. Simulated are what is
//! around it: the store's nodes and the network to them, the clocks, the runtime's time, the processes, and a database. One
//! seed decides everything, so a run that finds something can be repeated exactly.

pub mod auditor;
pub mod clock;
pub mod database;
pub mod history;
pub mod model;
pub mod nemesis;
pub mod network;
pub mod node;
pub mod process;
pub mod profile;
pub mod reader;
pub mod run;
pub mod summary;
mod sweep;
pub mod world;
pub mod writer;

pub use profile::{PROFILES, Profile};
pub use run::{Report, run};
pub use sweep::sweep;
