//! The async memcached store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::future::join_all;
use memcache::exp::{AsyncMetaClient, AsyncMetaConnection, Error, MetaCommand, MetaCommandResult, parse_meta_result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::cut::{Piece, Replace, by_node, cut, in_order};
use super::multiget::{Exchange, Failure, Reading, exchanges, request};
use super::{
    ATTEMPTS, CONNECTIONS, DEFAULT_ITEM_SIZE, GREETING, GREETING_ANSWER, MemcachedOptions, answers, check_version, error_in, failed,
    from_error, is_our_own, item_size, may_repeat, stood_still, unrepeated, wire,
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

    fn run<'a>(&'a self, batch: &'a [Op]) -> BoxFuture<'a, Vec<Reply>> {
        Box::pin(async move { if batch.iter().all(|op| op.action.is_read()) { self.read(batch).await } else { self.write(batch).await } })
    }
}

impl AsyncMemcachedStore {
    async fn read(&self, batch: &[Op]) -> Vec<Reply> {
        let mut replies = vec![Reply::No; batch.len()];
        let shares = exchanges(self.nodes.len(), batch, &mut replies);
        let mut shares = self.nodes.iter().zip(&shares).filter(|(_, share)| !share.is_empty());
        match (shares.next(), shares.next()) {
            (Some((node, share)), None) => node.read(batch, share, &mut replies).await,
            (Some(first), Some(second)) => {
                let apart = [first, second].into_iter().chain(shares).map(|(node, share)| async move {
                    let mut replies = vec![Reply::No; batch.len()];
                    node.read(batch, share, &mut replies).await;
                    (share, replies)
                });
                for (share, mut own) in join_all(apart).await {
                    share.iter().flatten().for_each(|&position| std::mem::swap(&mut replies[position], &mut own[position]));
                }
            }
            (None, _) => {}
        }
        replies
    }

    async fn write(&self, batch: &[Op]) -> Vec<Reply> {
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
    /// Idle.
    readers: Vec<Reader>,
}

/// A connection that only reads.
struct Reader {
    stream: TcpStream,
    buffer: BytesMut,
    request: Vec<u8>,
    /// How long the last reply was, in bytes.
    last: usize,
}

impl Reader {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new(), request: Vec::new(), last: 0 }
    }

    /// Whether nothing has come since the last reply: neither the connection's end, nor bytes that would be taken for the next one.
    fn is_quiet(&self) -> bool {
        self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn exchange(&mut self, batch: &[Op], exchange: &Exchange, limit: usize, replies: &mut [Reply]) -> Result<(), Failure> {
        request(batch, exchange, &mut self.request);
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        let mut reading = Reading::new(batch, exchange, limit);
        loop {
            self.buffer.reserve(reading.room(self.buffer.len(), self.last));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            if reading.advance(&self.buffer)? {
                break;
            }
        }
        self.last = self.buffer.len();
        reading.finish(&mut self.buffer, replies);
        Ok(())
    }
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

    /// Resolves and checks again when the node is next tried: it may be another server by then.
    fn forget(&self) {
        *self.live() = Live::default();
    }

    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, StoreError> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(Some(turn));
        }
        match tokio::time::timeout(self.options.timeout, self.turns.acquire()).await {
            Ok(turn) => Ok(turn.ok()),
            // Those who have a turn find out whether the node is down.
            Err(_) => {
                let cause = format!("none of {CONNECTIONS} connections was free within {:?}", self.options.timeout);
                Err(StoreError::refused(&self.name, cause))
            }
        }
    }

    async fn read(&self, batch: &[Op], share: &[Exchange], replies: &mut [Reply]) {
        let read = async {
            let _turn = self.turn().await?;
            let (_, limit) = self.client().await?;
            for exchange in share {
                self.exchange(batch, exchange, limit, replies).await?;
            }
            Ok(())
        };
        let Err(error): Result<(), StoreError> = read.await else { return };
        if error.down {
            self.forget();
        }
        // All of it: what was read before a node failed is from another life of it.
        share.iter().flatten().for_each(|&position| replies[position] = Reply::Failed(error.clone()));
    }

    async fn exchange(&self, batch: &[Op], exchange: &Exchange, limit: usize, replies: &mut [Reply]) -> Result<(), StoreError> {
        let idle = self.live().readers.pop().filter(Reader::is_quiet);
        let mut used = idle.is_some();
        let mut reader = match idle {
            Some(reader) => reader,
            None => Reader::new(self.dial().await?),
        };
        for attempt in 1.. {
            let began = Instant::now();
            // Dropped by an error, or with the future: what is on its way to it would be taken for the next answer.
            match tokio::time::timeout(self.options.timeout, reader.exchange(batch, exchange, limit, replies)).await {
                Ok(Ok(())) => break,
                Ok(Err(failure)) if used && failure.is_closed() => {
                    // By the server, while it was idle.
                    used = false;
                    self.live().readers.clear();
                    reader = Reader::new(self.dial().await?);
                }
                Ok(Err(failure)) => return Err(failure.on(&self.name)),
                Err(_) if attempt < ATTEMPTS && stood_still(began, self.options.timeout) => reader = Reader::new(self.dial().await?),
                Err(_) => return Err(self.down(format_args!("no answer within {:?}", self.options.timeout))),
            }
        }
        // There are no more of them than turns.
        self.live().readers.push(reader);
        Ok(())
    }

    async fn run(&self, ops: Vec<(usize, &Op)>) -> Vec<(usize, Reply)> {
        let unanswered = |ops: Vec<(usize, &Op)>, error: StoreError| {
            ops.into_iter().map(|(position, _)| (position, Reply::Failed(error.clone()))).collect::<Vec<_>>()
        };
        let _turn = match self.turn().await {
            Ok(turn) => turn,
            Err(error) => return unanswered(ops, error),
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
                Piece::Exchange(ops) => replies.extend(self.run_batch(&client, &ops).await),
                Piece::TooLarge { position } => replies.push((position, Reply::TooLarge)),
                Piece::Replace { position, replace } => replies.push((position, self.replace(&replace).await)),
            }
        }
        if failed(&replies).is_some() {
            self.forget();
        }
        replies
    }

    /// Asks again if it was this process that disturbed the exchange.
    async fn run_batch(&self, client: &AsyncMetaClient, ops: &[(usize, &Op)]) -> Vec<(usize, Reply)> {
        let (mut sent, mut attempt) = (ops.to_vec(), 1);
        loop {
            let (wire, places) = wire(&sent);
            let began = Instant::now();
            let results = client.run_batch(wire).await;
            let disturbed = error_in(&results).is_some_and(|error| is_our_own(error, began, self.options.timeout));
            if disturbed && attempt < ATTEMPTS && sent.iter().any(|(_, op)| may_repeat(op)) {
                sent.retain(|(_, op)| may_repeat(op));
                attempt += 1;
                continue;
            }
            let mut replies = answers(&self.name, places, results);
            if sent.len() < ops.len() {
                replies.extend(unrepeated(&self.name, ops, &replies));
            }
            return replies;
        }
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
        for _ in 1..ATTEMPTS {
            let began = Instant::now();
            let reply = self.try_replace(replace).await;
            if !matches!(&reply, Reply::Failed(error) if error.down) || !stood_still(began, self.options.timeout) {
                return reply;
            }
        }
        self.try_replace(replace).await
    }

    async fn try_replace(&self, replace: &Replace) -> Reply {
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
