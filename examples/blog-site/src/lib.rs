//! What the demo sites of Cachesweeper share, whatever their ORM.
//!
//! A news site with articles, comments and votes. Here are its templates and what they show ([`views`]), its command line
//! ([`cli`]), its data ([`stories`], [`made_up`]), the picture of what the cache did ([`overlay`]) and the replay, which is an
//! audit ([`replay`]). An ORM's site brings entities, queries and handlers, and implements [`Site`].

pub mod cli;
pub mod made_up;
pub mod overlay;
pub mod replay;
mod site;
pub mod stories;
pub mod views;

/// How many stories a front page shows.
pub const STORIES_PER_PAGE: usize = 30;

pub use site::{Added, Mode, Page, Served, Site, SiteError, Write};
