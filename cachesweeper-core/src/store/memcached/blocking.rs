//! The blocking memcached store.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memcache::exp::{MetaClient, MetaConnection, parse_meta_result};

use super::cut::{Piece, Replace, by_node, cut, in_order};
use super::{DEFAULT_ITEM_SIZE, GREETING, GREETING_ANSWER, MemcachedOptions, answers, check_version, failed, from_error, item_size, wire};
use crate::store::{Op, Reply, Store, StoreError, StoreInfo};

/// Fragments and logs on memcached servers, for blocking code.
#[derive(Debug)]
pub struct MemcachedStore {
    info: StoreInfo,
    nodes: Vec<Node>,
}

impl MemcachedStore {
    /// A store on these servers. Nothing is connected yet.
    pub fn new(options: &MemcachedOptions) -> Self {
        let info = options.info();
        let nodes = info.nodes.iter().map(|name| Node { name: name.clone(), options: options.clone(), live: Mutex::default() });
        Self { nodes: nodes.collect(), info }
    }
}

impl Store for MemcachedStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run(&self, batch: Vec<Op>) -> Vec<Reply> {
        let count = batch.len();
        let mut shares = self.nodes.iter().zip(by_node(self.nodes.len(), batch)).filter(|(_, share)| !share.is_empty());
        let Some((first, share)) = shares.next() else { return in_order(count, []) };
        let rest: Vec<_> = shares.collect();
        if rest.is_empty() {
            return in_order(count, first.run(share));
        }
        // The nodes' round trips overlap: this thread takes one, and each further node gets a thread.
        let answered = std::thread::scope(|scope| {
            let others: Vec<_> = rest.into_iter().map(|(node, share)| scope.spawn(move || node.run(share))).collect();
            let mut answered = first.run(share);
            for other in others {
                // A panic in a node's thread would leave its operations unanswered, which counts as failed.
                answered.extend(other.join().unwrap_or_default());
            }
            answered
        });
        in_order(count, answered)
    }
}

struct Node {
    name: Arc<str>,
    options: MemcachedOptions,
    live: Mutex<Live>,
}

/// What there is once the server has been reached.
#[derive(Default)]
struct Live {
    client: Option<(MetaClient, usize)>,
    replacing: Option<MetaConnection>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Node {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, ops: Vec<(usize, Op)>) -> Vec<(usize, Reply)> {
        let (client, limit) = match self.client() {
            Ok(client) => client,
            Err(error) => return ops.into_iter().map(|(position, _)| (position, Reply::Failed(error.clone()))).collect(),
        };
        let mut replies = Vec::with_capacity(ops.len());
        for piece in cut(ops, limit) {
            // A server that failed is not asked again: every further piece would wait for the time-out anew.
            if let Some(error) = failed(&replies) {
                replies.extend(piece.positions().into_iter().map(|position| (position, Reply::Failed(error.clone()))));
                continue;
            }
            match piece {
                Piece::Exchange(ops) => {
                    let (wire, places) = wire(&ops);
                    replies.extend(answers(&self.name, places, client.run_batch(wire)));
                }
                Piece::TooLarge { position } => replies.push((position, Reply::TooLarge)),
                Piece::Replace { position, replace } => replies.push((position, self.replace(&replace))),
            }
        }
        if failed(&replies).is_some() {
            // Resolve and check again when the node is next tried: it may be another server by then.
            *self.live() = Live::default();
        }
        replies
    }

    /// The client, and the size that items may have.
    fn client(&self) -> Result<(MetaClient, usize), StoreError> {
        if let Some(client) = &self.live().client {
            return Ok(client.clone());
        }
        let limit = self.check()?;
        let client = self.options.client().connect(&*self.name).map_err(|error| StoreError::down(&self.name, error))?;
        self.live().client = Some((client.clone(), limit));
        Ok((client, limit))
    }

    fn dial(&self) -> Result<TcpStream, StoreError> {
        let down = |error: std::io::Error| StoreError::down(&self.name, error);
        let addresses: Vec<SocketAddr> = self
            .name
            .to_socket_addrs()
            .map_err(|error| StoreError::down(&self.name, format_args!("its address does not resolve: {error}")))?
            .collect();
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.options.connect_timeout()) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(down)?;
                    stream.set_read_timeout(Some(self.options.timeout)).map_err(down)?;
                    stream.set_write_timeout(Some(self.options.timeout)).map_err(down)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(down(last))
    }

    fn check(&self) -> Result<usize, StoreError> {
        let down =
            |error: std::io::Error| StoreError::down(&self.name, format_args!("it does not answer `version` like a memcached: {error}"));
        let mut stream = self.dial()?;
        stream.write_all(GREETING).map_err(down)?;
        let mut lines = BufReader::new(std::io::Read::take(stream, GREETING_ANSWER));
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(down)?;
        check_version(&self.name, &String::from_utf8_lossy(&line))?;
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line).map_err(down)?;
            let text = String::from_utf8_lossy(&line);
            if let Some(limit) = item_size(&text) {
                return Ok(limit);
            }
            if !text.starts_with("STAT ") {
                return Ok(DEFAULT_ITEM_SIZE);
            }
        }
    }

    fn replace(&self, replace: &Replace) -> Reply {
        // Taken out while in use: an error drops the connection.
        let taken = self.live().replacing.take();
        let mut connection = match taken {
            Some(connection) => connection,
            None => match self.dial() {
                Ok(stream) => {
                    let mut connection = MetaConnection::from_stream(stream);
                    connection.set_io_timeout(Some(self.options.timeout));
                    connection
                }
                Err(error) => return Reply::Failed(error),
            },
        };
        let result = (|| {
            let found = parse_meta_result(connection.execute(&replace.read()?)?)?;
            match replace.swap(&found) {
                Some(swap) => Ok(Replace::swapped(&parse_meta_result(connection.execute(&swap?)?)?)),
                None => Ok(Reply::No),
            }
        })();
        match result {
            Ok(reply) => {
                self.live().replacing = Some(connection);
                reply
            }
            Err(error) => from_error(&self.name, &error),
        }
    }
}
