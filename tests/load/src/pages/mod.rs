//! The demo sites under HTTP load: which sites, which pages, and the order of the figures.

mod site;
mod voter;
mod wrk;

use std::path::PathBuf;
use std::time::Duration;

use blog_site::made_up;
use clap::{Args, ValueEnum};
use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{Output, Table};
use site::Site;

/// The demo sites under HTTP load, with and without the cache
///
/// Starts each site (blog is on SeaORM, blog-diesel on Diesel) on SQLite with the embedded store and on PostgreSQL with memcached,
/// each without the cache and with it, and loads two pages by wrk: the made-up article with the most comments, and the front page
/// with 30 stories. Of each page there are two figures: with readers alone, and while somebody votes for that article at a steady
/// rate, which makes both pages change. After each vote the page is read again and must show it.
///
/// The sites must have been built:
///
///     cargo build --release -p blog -p blog-diesel
///     cargo run --release -p cachesweeper-load -- pages
///
/// wrk, the site and its servers share the machine's cores; the two figures that a speedup compares have that in common.
/// PostgreSQL waits for the disk at every COMMIT, as by default.
///
/// req/s, p50 and p99 are wrk's; queries/page and hits (pages whose outermost fragment was a hit, of all pages) are counted by the
/// site itself: GET /cachesweeper/stats.json before and after. Speedup is req/s by that of the same page without the cache.
///
/// Exit code: 0 all figures are good; 1 something failed, a page was stale, an answer was an error, or pages were missed that
/// nobody wrote.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Pages {
    /// Only on this database
    #[arg(long)]
    database: Option<Database>,
    /// Only the site on this ORM
    #[arg(long)]
    orm: Option<Orm>,
    /// How long each figure's load lasts, in seconds; one second of it before is not counted
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How many requests are under way at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How many votes there are in a second, in the figures with a writer
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    votes: u32,
    /// Where the sites' programs are [default: beside this one]
    #[arg(long, value_name = "FOLDER")]
    sites: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Database {
    /// With the embedded store
    Sqlite,
    /// With memcached
    Postgres,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Orm {
    Seaorm,
    Diesel,
}

impl Orm {
    fn program(self) -> &'static str {
        match self {
            Self::Seaorm => "blog",
            Self::Diesel => "blog-diesel",
        }
    }
}

/// One figure's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    page: &'static str,
    votes: u32,
}

/// Of a page's requests per second without the cache.
type Baseline = Vec<(Load, f64)>;

const COLUMNS: &[(&str, &str)] = &[
    ("database", "database"),
    ("cache", "store"),
    ("ORM", "orm"),
    ("page", "page"),
    ("votes/s", "votes_per_s"),
    ("req/s", "requests_per_s"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("queries/page", "queries_per_page"),
    ("hits", "hit_ratio"),
    ("speedup", "speedup"),
    ("votes", "votes"),
    ("stale", "stale"),
];

impl Pages {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        wrk::find()?;
        let databases = [Database::Sqlite, Database::Postgres].into_iter().filter(|it| self.database.is_none_or(|only| only == *it));
        let orms: Vec<Orm> = [Orm::Seaorm, Orm::Diesel].into_iter().filter(|it| self.orm.is_none_or(|only| only == *it)).collect();
        for orm in &orms {
            self.program(*orm)?;
        }
        let demo = made_up::demo();
        let article = demo.iter().max_by_key(|article| article.comments.len()).ok_or("there are no made-up articles")?;
        eprintln!("The article has {} comments.", article.comments.len());
        let mut table = self.output.table(COLUMNS)?;
        let mut problems = Vec::new();
        for database in databases {
            let server =
                if database == Database::Postgres { Some(cachesweeper_servers::postgres(&["max_connections=100"])?) } else { None };
            for orm in &orms {
                let mut baseline = Baseline::new();
                for cached in [false, true] {
                    let folder = tempfile::Builder::new().prefix("blog-load.").tempdir()?;
                    let url = match &server {
                        Some(server) => new_database(&server.address, &format!("{}_{cached}", orm.program().replace('-', "_")))?,
                        None => format!("sqlite://{}", folder.path().join("blog.db").display()),
                    };
                    // Each has one of its own, since the keys of different databases are the same.
                    let memcached = match (cached, database) {
                        (true, Database::Postgres) => Some(cachesweeper_servers::memcached(256, 1_024)?),
                        _ => None,
                    };
                    let store = match (cached, &memcached) {
                        (false, _) => "none",
                        (true, None) => "memory",
                        (true, Some(_)) => "memcached",
                    };
                    let site = Site::start(&self.program(*orm)?, &url, cached, memcached.as_ref().map(|server| &*server.address))?;
                    let place = json!({ "database": word(database), "store": store, "orm": word(*orm) });
                    self.load(&site, article.story.id, &place, &mut baseline, &mut table, &mut problems)?;
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n").into()) }
    }

    fn program(&self, orm: Orm) -> Result<PathBuf, Failure> {
        let path = match &self.sites {
            Some(folder) => folder.join(orm.program()),
            None => std::env::current_exe()?.with_file_name(orm.program()),
        };
        if !path.is_file() {
            let build = "build it with `cargo build --release -p blog -p blog-diesel`, or say where it is by --sites";
            return Err(format!("there is no {}: {build}", path.display()).into());
        }
        Ok(path)
    }

    /// All figures of one site.
    fn load(
        &self,
        site: &Site,
        article: i64,
        place: &Value,
        baseline: &mut Baseline,
        table: &mut Table,
        problems: &mut Vec<String>,
    ) -> Result<(), Failure> {
        for (page, path) in [("article", format!("/articles/{article}")), ("front", "/".to_owned())] {
            site.warm_up(&path)?;
            wrk::load(&site.at(&path), self.connections, Duration::from_secs(1))?;
            for votes in [0, self.votes] {
                let load = Load { page, votes };
                let mut row = self.figure(site, article, &path, load)?;
                let speed = row["requests_per_s"].as_f64().unwrap_or_default();
                match baseline.iter().find(|(other, _)| *other == load) {
                    Some((_, uncached)) => row["speedup"] = json!(speed / uncached),
                    None => baseline.push((load, speed)),
                }
                if let (Value::Object(row), Value::Object(place)) = (&mut row, place.clone()) {
                    row.extend(place);
                }
                table.row(&row)?;
                problems.extend(problem(&row).map(|problem| format!("{problem}: {row}")));
            }
        }
        Ok(())
    }

    fn figure(&self, site: &Site, article: i64, path: &str, load: Load) -> Result<Value, Failure> {
        let before = site.counters()?;
        let (answered, voted) = voter::while_voting(site, article, path, load.votes, || {
            wrk::load(&site.at(path), self.connections, Duration::from_secs(self.seconds.into()))
        })?;
        let after = site.counters()?;
        let more = |name: &str| after.get(name).zip(before.get(name)).map_or(0, |(after, before)| after.saturating_sub(*before));
        let per_page = |count: u64| count as f64 / (more("pages").max(1) as f64);
        Ok(json!({
            "page": load.page, "votes_per_s": load.votes, "connections": self.connections,
            "requests": answered.requests, "requests_per_s": answered.per_second(), "pages": more("pages"),
            "p50_ms": answered.p50_us as f64 / 1e3, "p99_ms": answered.p99_us as f64 / 1e3,
            "queries_per_page": per_page(more("page_queries")), "hit_ratio": per_page(more("page_hits")),
            "fragment_hits": more("hits"), "fragment_misses": more("misses"), "fragments_shared": more("shared"),
            "fragment_bypasses": more("bypasses"), "store_errors": more("store_errors"),
            "status_errors": answered.status_errors, "socket_errors": answered.socket_errors,
            "votes": voted.votes, "stale": voted.stale,
        }))
    }
}

/// What is wrong with a figure.
fn problem(row: &Value) -> Option<&'static str> {
    let field = |name: &str| row[name].as_f64().unwrap_or_default();
    if field("stale") > 0.0 {
        return Some("a page was stale");
    }
    if field("status_errors") + field("socket_errors") > 0.0 {
        return Some("some requests were not answered with the page");
    }
    if field("votes_per_s") == 0.0 && row["store"] != "none" && field("hit_ratio") < 0.99 {
        return Some("pages were missed that nobody wrote");
    }
    None
}

/// What an option's value is called.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Makes a database; returns its URL.
fn new_database(admin: &str, name: &str) -> Result<String, Failure> {
    PgConnection::establish(admin)?.batch_execute(&format!("CREATE DATABASE {name}"))?;
    let (server, _) = admin.rsplit_once('/').ok_or("a URL has a path")?;
    Ok(format!("{server}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_figures_are_told() {
        let row = |store: &str, votes: u32, hits: f64, stale: u32, errors: u32| {
            problem(&json!({ "store": store, "votes_per_s": votes, "hit_ratio": hits, "stale": stale, "status_errors": errors }))
        };
        assert_eq!(row("memory", 0, 1.0, 0, 0), None);
        assert_eq!(row("none", 0, 0.0, 0, 0), None);
        assert_eq!(row("memory", 10, 0.7, 0, 0), None);
        assert!(row("memory", 0, 0.7, 0, 0).is_some());
        assert!(row("memory", 10, 0.9, 1, 0).is_some());
        assert!(row("none", 0, 0.0, 0, 3).is_some());
    }
}
