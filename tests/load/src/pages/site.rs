//! A demo site as a process of its own, and what is asked of it beside the load.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use blog_site::replay::counts;
use cachesweeper_servers::{Process, ending_with_us};
use ureq::Agent;

use crate::Failure;

/// How long a site may take to fill its database, and a new store to be used: it is bypassed for the longest hold.
const PATIENCE: Duration = Duration::from_secs(120);

/// A site that is stopped when it is dropped.
#[derive(Debug)]
pub(super) struct Site {
    url: String,
    client: Agent,
    cached: bool,
    _process: Process,
}

impl Site {
    /// Starts a site on an empty database, which it fills.
    pub(super) fn start(program: &Path, database: &str, cached: bool, memcached: Option<&str>) -> Result<Self, Failure> {
        let mut command = ending_with_us(program);
        command.args(["--listen", "127.0.0.1:0", "--database-url", database]).stdout(Stdio::piped());
        if let Some(server) = memcached {
            command.args(["--memcached", server]);
        }
        if !cached {
            command.arg("--no-cache");
        }
        let child = command.spawn().map_err(|error| format!("setpriv (util-linux) could not be run: {error}"))?;
        let mut process = Process { child, ask: "TERM" };
        let output = process.child.stdout.take().ok_or("its standard output is piped")?;
        let (tell, told) = mpsc::channel();
        // Its first line is its address. It says no more, and the thread ends with it.
        std::thread::spawn(move || {
            let mut line = String::new();
            if BufReader::new(output).read_line(&mut line).is_ok_and(|length| length > 0) {
                let _ = tell.send(line.trim_end().to_owned());
            }
        });
        let url = told.recv_timeout(PATIENCE);
        let url = url.map_err(|_| format!("{} told no address within {} s", program.display(), PATIENCE.as_secs()))?;
        // A vote is answered with the way back to the page, which is not followed.
        let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).max_redirects(0).max_redirects_will_error(false);
        Ok(Self { url, client: config.build().into(), cached, _process: process })
    }

    /// The whole address of a path.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn get(&self, path: &str) -> Result<String, Failure> {
        Ok(self.client.get(self.at(path)).call()?.body_mut().read_to_string()?)
    }

    /// Its statistics.
    pub(super) fn counters(&self) -> Result<HashMap<String, u64>, Failure> {
        Ok(serde_json::from_str(&self.get("/cachesweeper/stats.json")?)?)
    }

    /// Reads a page until it is a hit.
    pub(super) fn warm_up(&self, path: &str) -> Result<(), Failure> {
        let hits = || Ok::<_, Failure>(self.counters()?.get("page_hits").copied().unwrap_or_default());
        let (before, until) = (hits()?, Instant::now() + PATIENCE);
        loop {
            self.get(path)?;
            if !self.cached || hits()? > before {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{path} was no hit within {} s", PATIENCE.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Votes for an article; returns when that is committed.
    pub(super) fn vote(&self, article: i64) -> Result<(), Failure> {
        self.client.post(self.at(&format!("/articles/{article}/votes"))).send_empty()?;
        Ok(())
    }

    /// How many votes a page shows for an article.
    pub(super) fn votes(&self, path: &str, article: i64) -> Result<u64, Failure> {
        let shown = counts(&self.get(path)?).ok_or_else(|| format!("{path} shows no counts"))?;
        let article = shown.articles.iter().find(|shown| shown.article == article);
        Ok(article.ok_or_else(|| format!("{path} does not show the article"))?.votes)
    }
}
