//! Template engines (features).

pub mod minijinja;
