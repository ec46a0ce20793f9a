//! The async memcached store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use memcache::exp::{AsyncMetaClient, AsyncMetaConnection, Error, MetaCommand, MetaCommandResult, parse_meta_result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::cut::{Piece, Replace, by_node, cut, in_order};
use super::{
    CONNECTIONS, DEFAULT_ITEM_SIZE, GREETING, GREETING_ANSWER, MemcachedOptions, answers, check_version, failed, from_error, item_size,
    wire,
};
use crate::store::{AsyncStore, BoxFuture, Op, Reply, StoreError, StoreInfo};

/// Fragments and logs on memcached servers, for async code.
#[derive(Debug)]
pub struct AsyncMemcachedStore {
    info: StoreInfo,
    nodes: Vec<Node>,
}

impl AsyncMemcachedStore {
    /// A store on these servers. Nothing is connected yet.
    pub fn new(options: &MemcachedOptions) -> Self {
        let info = options.info();
        let node = |name: &Arc<str>| Node {
            name: name.clone(),
            options: options.clone(),
            live: Mutex::default(),
            turns: Semaphore::new(CONNECTIONS),
        };
        Self { nodes: info.nodes.iter().map(node).collect(), info }
    }
}

impl AsyncStore for AsyncMemcachedStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn run(&self, batch: Vec<Op>) -> BoxFuture<'_, Vec<Reply>> {
        Box::pin(async move {
            let count = batch.len();
            let shares = self.nodes.iter().zip(by_node(self.nodes.len(), batch)).filter(|(_, share)| !share.is_empty());
            let mut shares: Vec<_> = shares.collect();
            match shares.len() {
                0 => in_order(count, []),
                1 => {
                    let (node, share) = shares.remove(0);
                    in_order(count, node.run(share).await)
                }
                _ => in_order(count, join_all(shares.into_iter().map(|(node, share)| node.run(share))).await.into_iter().flatten()),
            }
        })
    }
}

struct Node {
    name: Arc<str>,
    options: MemcachedOptions,
    live: Mutex<Live>,
    /// A crowd of tasks takes turns. A turn is over in a fraction of a millisecond, so it need not be long for thousands.
    turns: Semaphore,
}

/// What there is once the server has been reached.
#[derive(Default)]
struct Live {
    client: Option<(AsyncMetaClient, usize)>,
    replacing: Option<AsyncMetaConnection>,
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

    async fn run(&self, ops: Vec<(usize, Op)>) -> Vec<(usize, Reply)> {
        let unanswered = |ops: Vec<(usize, Op)>, error: StoreError| {
            ops.into_iter().map(|(position, _)| (position, Reply::Failed(error.clone()))).collect::<Vec<_>>()
        };
        let Ok(_turn) = tokio::time::timeout(self.options.timeout, self.turns.acquire()).await else {
            // Those who have a turn find out whether the node is down.
            let cause = format!("none of {CONNECTIONS} connections was free within {:?}", self.options.timeout);
            return unanswered(ops, StoreError::refused(&self.name, cause));
        };
        let (client, limit) = match self.client().await {
            Ok(client) => client,
            Err(error) => return unanswered(ops, error),
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
                    replies.extend(answers(&self.name, places, client.run_batch(wire).await));
                }
                Piece::TooLarge { position } => replies.push((position, Reply::TooLarge)),
                Piece::Replace { position, replace } => replies.push((position, self.replace(&replace).await)),
            }
        }
        if failed(&replies).is_some() {
            // Resolve and check again when the node is next tried: it may be another server by then.
            *self.live() = Live::default();
        }
        replies
    }

    /// The client, and the size that items may have.
    async fn client(&self) -> Result<(AsyncMetaClient, usize), StoreError> {
        let live = self.live().client.clone();
        if let Some(client) = live {
            return Ok(client);
        }
        let limit = self.check().await?;
        let connecting = self.options.client().connect_async(&*self.name);
        let client = self.bounded(self.options.connect_timeout(), async { connecting.await.map_err(|error| self.down(error)) }).await?;
        self.live().client = Some((client.clone(), limit));
        Ok((client, limit))
    }

    fn down(&self, cause: impl std::fmt::Display) -> StoreError {
        StoreError::down(&self.name, cause)
    }

    async fn bounded<T>(&self, limit: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let late = |_| Err(self.down(format_args!("no answer within {limit:?}")));
        tokio::time::timeout(limit, step).await.unwrap_or_else(late)
    }

    async fn dial(&self) -> Result<TcpStream, StoreError> {
        let dial = async {
            let addresses = tokio::net::lookup_host(&*self.name).await;
            let addresses: Vec<_> = addresses.map_err(|error| self.down(format_args!("its address does not resolve: {error}")))?.collect();
            let stream = TcpStream::connect(&addresses[..]).await.map_err(|error| self.down(error))?;
            stream.set_nodelay(true).map_err(|error| self.down(error))?;
            Ok(stream)
        };
        self.bounded(self.options.connect_timeout(), dial).await
    }

    async fn check(&self) -> Result<usize, StoreError> {
        let unlike = |error: std::io::Error| self.down(format_args!("it does not answer `version` like a memcached: {error}"));
        let mut stream = self.dial().await?;
        let ask = async {
            stream.write_all(GREETING).await.map_err(unlike)?;
            let mut lines = BufReader::new(stream.take(GREETING_ANSWER));
            let mut line = Vec::new();
            lines.read_until(b'\n', &mut line).await.map_err(unlike)?;
            check_version(&self.name, &String::from_utf8_lossy(&line))?;
            loop {
                line.clear();
                lines.read_until(b'\n', &mut line).await.map_err(unlike)?;
                let text = String::from_utf8_lossy(&line);
                if let Some(limit) = item_size(&text) {
                    return Ok(limit);
                }
                if !text.starts_with("STAT ") {
                    return Ok(DEFAULT_ITEM_SIZE);
                }
            }
        };
        self.bounded(self.options.timeout, ask).await
    }

    async fn replace(&self, replace: &Replace) -> Reply {
        // Taken out while in use: an error, or a dropped future, drops the connection.
        let taken = self.live().replacing.take();
        let mut connection = match taken {
            Some(connection) => connection,
            None => match self.dial().await {
                Ok(stream) => AsyncMetaConnection::from_stream(stream),
                Err(error) => return Reply::Failed(error),
            },
        };
        let swap = async {
            let found = execute(&mut connection, &replace.read()?).await?;
            match replace.swap(&found) {
                Some(swap) => Ok(Replace::swapped(&execute(&mut connection, &swap?).await?)),
                None => Ok(Reply::No),
            }
        };
        let result = tokio::time::timeout(self.options.timeout, swap).await;
        match result {
            Ok(Ok(reply)) => {
                self.live().replacing = Some(connection);
                reply
            }
            Ok(Err(error)) => from_error(&self.name, &error),
            Err(_) => Reply::Failed(self.down(format_args!("no answer within {:?}", self.options.timeout))),
        }
    }
}

async fn execute(connection: &mut AsyncMetaConnection, command: &MetaCommand) -> Result<MetaCommandResult, Error> {
    parse_meta_result(connection.execute(command).await?)
}
