//! What the demo sites of Cachesweeper share, whatever their ORM.
//!
//! A news site with articles, comments and votes: its command line ([`cli`]), its addresses and forms, its templates and what
//! they show ([`views`]), its tables ([`database`]), its data ([`stories`], [`made_up`]), the picture of what the cache did
//! ([`overlay`]), and the replay, which is an audit ([`replay`]).
//!
//! An ORM's site implements [`Site`]: it brings entities, queries and writes, and asks its sweeper for the fragments of which
//! a [`Sitting`](sitting::Sitting) makes a page. Its `main` is [`run`].

pub mod cache;
pub mod cli;
pub mod database;
mod forms;
pub mod made_up;
mod naive;
pub mod overlay;
pub mod replay;
mod routes;
mod run;
mod serve;
mod site;
pub mod sitting;
pub mod stories;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
pub mod views;

/// How many stories a front page shows.
pub const STORIES_PER_PAGE: usize = 30;

pub use run::run;
pub use site::{Added, Caching, Mode, Opening, Page, Served, Site, SiteError, Write};
