//! The command line, the same for every ORM's site.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A news site with articles, comments and votes, whose pages are cached and never stale.
///
/// Without options it needs nothing installed: the data are in a SQLite file, the cache is in memory, and an empty database is
/// filled with made-up articles.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = false)]
pub struct Cli {
    /// What to do instead of serving the site.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The site's options.
    #[command(flatten)]
    pub serve: Serve,
}

/// What can be done beside serving the site.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes the votes and comments of many stories while readers look for stale pages.
    ///
    /// Every page carries the counts it shows. The auditor knows how many votes and comments had been acknowledged before a
    /// page was asked for; a page that shows fewer is stale. Prints a table and, as the last line, the same as JSON.
    ///
    /// Exit code: 0 no page was stale, 1 some were, 2 it could not run.
    #[command(verbatim_doc_comment)]
    Replay(Box<Replay>),
}

/// Where data and cache are.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// The memcached servers to cache in, separated by commas [default: the memory of this process]
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub memcached: Vec<String>,
    /// Stays exact at every COMMIT even if memcached evicts version logs while a write commits; every article waits for its
    /// first hit
    #[arg(long, requires = "memcached")]
    pub strict: bool,
}

/// The site's options.
#[derive(Debug, Args)]
pub struct Serve {
    /// The address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// The database: postgres://…, mysql://… or sqlite://…; the default is the file blog.db in the current folder. Tables and
    /// files that are not there are made
    #[arg(long, value_name = "URL", default_value = "sqlite://blog.db")]
    pub database_url: String,
    /// Where the cache is.
    #[command(flatten)]
    pub places: Places,
    /// Renders every page anew, to see what the cache is worth
    #[arg(long, conflicts_with = "memcached")]
    pub no_cache: bool,
    /// Imports articles from a CSV file with the columns id, title, url, num_points, num_comments, author and created_at
    /// (like 8/4/2016 11:52). Articles that are there already are left alone
    #[arg(long, value_name = "FILE")]
    pub stories: Option<PathBuf>,
}

/// The replay's options.
#[derive(Clone, Debug, Args)]
#[group(id = "source", required = true, multiple = false, args = ["stories", "made_up"])]
pub struct Replay {
    /// Replays the stories of this CSV file (columns: id, title, url, num_points, num_comments, author, created_at)
    #[arg(long, value_name = "FILE")]
    pub stories: Option<PathBuf>,
    /// Replays this many made-up stories
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub made_up: Option<u32>,
    /// Takes only the first N stories
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Stops writing after this time [default: when all is written]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// Readers at work at the same time
    #[arg(long, value_name = "R", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub readers: u32,
    /// Writers at work at the same time
    #[arg(long, value_name = "W", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub writers: u32,
    /// What all that is random begins with; the same seed makes the same schedule
    #[arg(long, value_name = "X", default_value_t = 1)]
    pub seed: u64,
    /// How long each of the two measurements at the end takes, with and without the cache
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub measure: u32,
    /// Caches in the classic way instead: a version per record, raised by each save, as part of the key. The audit must catch it
    #[arg(long, conflicts_with = "memcached")]
    pub naive: bool,
    /// The database: postgres://…, mysql://… or sqlite://…; the blog's tables in it must be empty
    /// [default: a SQLite file in the temporary folder, for this run alone]
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Drops the blog's tables and all their data first
    #[arg(long, requires = "database_url")]
    pub reset: bool,
    /// Where the cache is.
    #[command(flatten)]
    pub places: Places,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_cache_there_is_no_place_for_it() {
        assert!(Cli::try_parse_from(["blog", "--no-cache"]).is_ok_and(|cli| cli.serve.no_cache));
        assert!(Cli::try_parse_from(["blog", "--no-cache", "--memcached", "a:1"]).is_err());
    }

    #[test]
    fn a_replay_needs_one_source() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("blog replay").is_err());
        assert!(parse("blog replay --made-up 3 --stories x.csv").is_err());
        assert!(parse("blog replay --made-up 0").is_err());
        assert!(parse("blog replay --made-up 3 --naive --memcached a:1").is_err());
        let Ok(Cli { command: Some(Command::Replay(replay)), .. }) = parse("blog replay --made-up 3 --memcached a:1,b:2") else {
            panic!("this is a replay");
        };
        assert_eq!((replay.made_up, replay.places.memcached), (Some(3), vec!["a:1".to_owned(), "b:2".to_owned()]));
    }
}
