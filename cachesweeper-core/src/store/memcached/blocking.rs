//! The blocking memcached store.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use memcache::exp::{Error, MetaClient, MetaConnection, parse_meta_result};

use super::cut::{Piece, Replace, by_node, cut, in_order};
use super::multiget::{Exchange, Failure, Reading, exchanges, request};
use super::{
    ATTEMPTS, DEFAULT_ITEM_SIZE, GREETING, GREETING_ANSWER, MemcachedOptions, answers, check_version, error_in, failed, from_error,
    is_our_own, item_size, may_repeat, stood_still, unrepeated, wire,
};
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

    fn run(&self, batch: &[Op]) -> Vec<Reply> {
        if batch.iter().all(|op| op.action.is_read()) { self.read(batch) } else { self.write(batch) }
    }
}

impl MemcachedStore {
    fn read(&self, batch: &[Op]) -> Vec<Reply> {
        let mut replies = vec![Reply::No; batch.len()];
        let shares = exchanges(self.nodes.len(), batch, &mut replies);
        let mut failed: Vec<Option<StoreError>> = vec![None; self.nodes.len()];
        for round in 0..shares.iter().map(Vec::len).max().unwrap_or(0) {
            // The nodes' round trips overlap: each is asked before any answer is waited for. One that failed is not asked again:
            // every further exchange would wait for the time-out anew.
            let mut asked = Vec::with_capacity(self.nodes.len());
            for ((node, failed), share) in self.nodes.iter().zip(&mut failed).zip(&shares) {
                let Some(exchange) = share.get(round) else { continue };
                let sent = failed.clone().map_or_else(|| node.ask(batch, exchange), Err);
                asked.push((node, failed, exchange, sent));
            }
            for (node, failed, exchange, sent) in asked {
                let answered = sent.and_then(|asked| node.answer(batch, exchange, asked, &mut replies));
                if let Err(error) = answered {
                    let error = failed.get_or_insert(error);
                    exchange.iter().for_each(|&position| replies[position] = Reply::Failed(error.clone()));
                    if error.down {
                        node.forget();
                    }
                }
            }
        }
        replies
    }

    fn write(&self, batch: &[Op]) -> Vec<Reply> {
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
    /// Idle.
    readers: Vec<Reader>,
}

/// Idle connections to a node that are kept. As many are open as threads read at once, and a program has that many threads for a while.
const READERS: usize = 256;

/// A connection that only reads.
struct Reader {
    stream: TcpStream,
    /// What the socket's time-out is set to.
    armed: Duration,
    buffer: BytesMut,
    request: Vec<u8>,
    /// How long the last reply was, in bytes.
    last: usize,
}

/// An exchange whose answer is to come.
struct Asked {
    reader: Reader,
    limit: usize,
    deadline: Instant,
    /// Whether the connection was used before, so that the server may have closed it since.
    used: bool,
    attempt: usize,
}

impl Reader {
    fn new(stream: TcpStream, timeout: Duration) -> Self {
        Self { stream, armed: timeout, buffer: BytesMut::new(), request: Vec::new(), last: 0 }
    }

    /// Whether nothing has come since the last reply: neither the connection's end, nor bytes that would be taken for the next one.
    /// Leaves a socket whose reads wait.
    fn is_quiet(&self) -> bool {
        let quiet = self.stream.set_nonblocking(true).is_ok()
            && self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).is_ok() && quiet
    }

    /// Sets the socket's time-out for the next read. Setting it costs as much as a small read, so a millisecond more or less is
    /// let be. Behind the deadline nothing is waited for, but what has come is read: the time may have gone by while this thread
    /// waited for another node, or while the process stood still, and says nothing of this node then.
    fn arm(&mut self, deadline: Instant) -> io::Result<()> {
        const CLOSE: Duration = Duration::from_millis(1);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Until the connection is used again: see `is_quiet`.
            return self.stream.set_nonblocking(true);
        }
        if left.abs_diff(self.armed) > CLOSE {
            self.stream.set_read_timeout(Some(left))?;
            self.armed = left;
        }
        Ok(())
    }

    fn answer(&mut self, batch: &[Op], exchange: &Exchange, limit: usize, deadline: Instant, replies: &mut [Reply]) -> Result<(), Failure> {
        self.buffer.clear();
        let mut reading = Reading::new(batch, exchange, limit);
        loop {
            self.arm(deadline)?;
            let filled = self.buffer.len();
            self.buffer.resize(filled + reading.room(filled, self.last), 0);
            let read = self.stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(_) if reading.advance(&self.buffer)? => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What a socket's time-out is called on most platforms.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                Err(error) => return Err(error.into()),
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

    fn ask(&self, batch: &[Op], exchange: &Exchange) -> Result<Asked, StoreError> {
        let (_, limit) = self.client()?;
        let idle = self.live().readers.pop().filter(Reader::is_quiet);
        let used = idle.is_some();
        let reader = idle.map_or_else(|| Ok(Reader::new(self.dial()?, self.options.timeout)), Ok)?;
        let mut asked = Asked { reader, limit, used, attempt: 1, deadline: Instant::now() + self.options.timeout };
        request(batch, exchange, &mut asked.reader.request);
        match asked.reader.stream.write_all(&asked.reader.request) {
            Ok(()) => Ok(asked),
            Err(_) if used => self.ask_anew(batch, exchange, limit, 2),
            Err(error) => Err(StoreError::down(&self.name, error)),
        }
    }

    /// On a new connection, in place of one that the server has closed while it was idle, or whose answer came too late for us.
    fn ask_anew(&self, batch: &[Op], exchange: &Exchange, limit: usize, attempt: usize) -> Result<Asked, StoreError> {
        self.live().readers.clear();
        let mut reader = Reader::new(self.dial()?, self.options.timeout);
        request(batch, exchange, &mut reader.request);
        reader.stream.write_all(&reader.request).map_err(|error| StoreError::down(&self.name, error))?;
        Ok(Asked { reader, limit, used: false, attempt, deadline: Instant::now() + self.options.timeout })
    }

    fn answer(&self, batch: &[Op], exchange: &Exchange, asked: Asked, replies: &mut [Reply]) -> Result<(), StoreError> {
        let Asked { mut reader, limit, deadline, used, attempt } = asked;
        let timeout = self.options.timeout;
        match reader.answer(batch, exchange, limit, deadline, replies) {
            Ok(()) => {}
            Err(failure)
                if used && failure.is_closed()
                    || attempt < ATTEMPTS
                        && failure.is_late()
                        && deadline.checked_sub(timeout).is_some_and(|began| stood_still(began, timeout)) =>
            {
                let again = self.ask_anew(batch, exchange, limit, attempt + 1)?;
                return self.answer(batch, exchange, again, replies);
            }
            Err(failure) => return Err(failure.on(&self.name)),
        }
        let mut live = self.live();
        if live.readers.len() < READERS {
            live.readers.push(reader);
        }
        Ok(())
    }

    fn run(&self, ops: Vec<(usize, &Op)>) -> Vec<(usize, Reply)> {
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
                Piece::Exchange(ops) => replies.extend(self.run_batch(&client, &ops)),
                Piece::TooLarge { position } => replies.push((position, Reply::TooLarge)),
                Piece::Replace { position, replace } => replies.push((position, self.replace(&replace))),
            }
        }
        if failed(&replies).is_some() {
            self.forget();
        }
        replies
    }

    /// Asks again if it was this process that disturbed the exchange: a signal interrupts reads of the client's, and a time-out runs out
    /// while the process stands still.
    fn run_batch(&self, client: &MetaClient, ops: &[(usize, &Op)]) -> Vec<(usize, Reply)> {
        let (mut sent, mut attempt) = (ops.to_vec(), 1);
        loop {
            let (wire, places) = wire(&sent);
            let began = Instant::now();
            let results = client.run_batch(wire);
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
        let mut attempt = 1;
        loop {
            let began = Instant::now();
            match self.try_replace(replace) {
                Ok(reply) => return reply,
                Err(error) if attempt < ATTEMPTS && is_our_own(&error, began, self.options.timeout) => attempt += 1,
                Err(error) => return from_error(&self.name, &error),
            }
        }
    }

    fn try_replace(&self, replace: &Replace) -> Result<Reply, Error> {
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
                Err(error) => return Ok(Reply::Failed(error)),
            },
        };
        let found = parse_meta_result(connection.execute(&replace.read()?)?)?;
        let reply = match replace.swap(&found) {
            Some(swap) => Replace::swapped(&parse_meta_result(connection.execute(&swap?)?)?),
            None => Reply::No,
        };
        self.live().replacing = Some(connection);
        Ok(reply)
    }
}
