//! A news site with articles, comments and votes, on Diesel and Cachesweeper; and the replay that looks for stale pages.
//!
//! What is not Diesel's is in `blog-site`: addresses, forms, templates, the command line, and the replay.
//!
//! The tables are those of the other blogs, and so are the cache's keys: programs of different ORMs can serve one database and
//! sweep one memcached. On SQLite, where times are text, each ORM writes them in its own way; there the front page's order is
//! off within a day on which several have written.

mod blog;
mod database;
mod entity;
mod fragments;
mod load;
mod pages;
#[cfg(test)]
mod tests;
mod write;

use std::process::ExitCode;

fn main() -> ExitCode {
    blog_site::run::<blog::Blog>()
}
