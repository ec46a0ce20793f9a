//! What diesel-async has for itself: pools, futures that are dropped, futures that move between threads.

mod cancelled;
mod pools;
mod statements;
