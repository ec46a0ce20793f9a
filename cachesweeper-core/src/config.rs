//! What a sweeper is configured with. The same in every process of an application.

use std::time::Duration;

use crate::store::router::Router;
use crate::{Error, Ttl};

/// What to do with a write when its records cannot be marked, because a store node does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Commit all the same, and retry the sweep until it is delivered. A cache problem is not an outage; until the delivery
    /// readers may be served fragments from before the write.
    #[default]
    Proceed,
    /// Refuse the write: it is rolled back, and the error says why.
    Abort,
}

/// The settings of a sweeper. Set through its builder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The application's part of the store.
    pub namespace: String,
    /// How long a mark holds if nobody releases it.
    pub hold: Duration,
    /// How long a mark holds in a transaction whose end cannot be seen.
    pub plain_hold: Duration,
    /// How far the clocks of two processes may differ.
    pub max_clock_skew: Duration,
    /// What to do when records cannot be marked.
    pub policy: Policy,
    /// The TTL of fragments that name none.
    pub default_ttl: Duration,
    /// How long a node that failed is left alone.
    pub retry_interval: Duration,
    /// How long one exchange with a store node may take.
    pub store_timeout: Duration,
    /// How long a caller waits for another process that renders the same fragment.
    pub lease_wait: Duration,
    /// How long a caller waits for another caller of this process that renders the same fragment.
    pub flight_wait: Duration,
    /// How long a mark is renewed whose COMMIT has an unknown outcome.
    pub unknown_commit_limit: Duration,
    /// Whether a version log that is new waits until no hold can be open that an evicted log had.
    pub strict: bool,
    /// The share of hits that are rendered again and compared, from 0 to 1.
    pub verify: f64,
    /// Bytes of fragment bodies that the process keeps beside the store; 0 for none.
    pub near_cache: u64,
    /// Bodies of more bytes than this are stored compressed.
    #[cfg(feature = "compression")]
    pub compress_above: u64,
    pub(crate) lease_ttl: Ttl,
    #[cfg(feature = "hmac")]
    pub(crate) seal: crate::protocol::Seal,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "cachesweeper".into(),
            hold: Duration::from_secs(3),
            plain_hold: Duration::from_secs(10),
            max_clock_skew: Duration::from_millis(500),
            policy: Policy::Proceed,
            default_ttl: Duration::from_secs(24 * 60 * 60),
            retry_interval: Duration::from_secs(1),
            store_timeout: Duration::from_secs(1),
            lease_wait: Duration::from_millis(300),
            flight_wait: Duration::from_secs(5),
            unknown_commit_limit: Duration::from_secs(60),
            strict: false,
            verify: 0.0,
            near_cache: 0,
            #[cfg(feature = "compression")]
            compress_above: 2048,
            lease_ttl: Ttl::new(Duration::from_secs(3)).unwrap_or(Ttl::MAX),
            #[cfg(feature = "hmac")]
            seal: crate::protocol::Seal::default(),
        }
    }
}

impl Config {
    /// Checks what the builder was given.
    pub(crate) fn check(&self) -> Result<Ttl, Error> {
        let limit = Duration::from_secs(3600);
        let checks = [
            ("hold", self.hold, Duration::from_millis(10)),
            ("plain_hold", self.plain_hold, Duration::from_millis(10)),
            ("max_clock_skew", self.max_clock_skew, Duration::ZERO),
            ("retry_interval", self.retry_interval, Duration::from_millis(1)),
            ("store_timeout", self.store_timeout, Duration::from_millis(1)),
        ];
        for (name, value, least) in checks {
            if value < least || value > limit {
                return Err(Error::Config(format!("{name} is {value:?}; it must be between {least:?} and {limit:?}")));
            }
        }
        if !(0.0..=1.0).contains(&self.verify) {
            return Err(Error::Config(format!(
                "verify is {}; it must be between 0 (no hit is verified) and 1 (every hit is)",
                self.verify
            )));
        }
        if self.namespace.is_empty() || self.namespace.len() > 60 {
            return Err(Error::Config(format!(
                "the namespace {:?} has {} bytes; give 1 to 60 (it begins every key in the store)",
                self.namespace,
                self.namespace.len()
            )));
        }
        #[cfg(feature = "hmac")]
        if let Some(problem) = self.seal.problem() {
            return Err(Error::Config(problem));
        }
        Ttl::new(self.default_ttl).map_err(|error| Error::Config(format!("default_ttl: {error}")))
    }
}

/// Names nodes must have: each once.
pub(crate) fn check_nodes(nodes: &[std::sync::Arc<str>]) -> Result<Router, Error> {
    if nodes.is_empty() {
        return Err(Error::Config("no memcached server is named: give at least one `host:port`".into()));
    }
    for (position, node) in nodes.iter().enumerate() {
        if nodes[..position].contains(node) {
            return Err(Error::Config(format!("the memcached server {node} is named twice")));
        }
    }
    Ok(Router::new(nodes))
}
