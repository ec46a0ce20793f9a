//! A news site with articles, comments and votes, on SeaORM and Cachesweeper; and the replay that looks for stale pages.
//!
//! What is not SeaORM's is in `blog-site`: addresses, forms, templates, the command line, and the replay.

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
