//! The floor: a client written with std alone, which can do nothing but fetch. It looks at replies just enough to find their ends.
//!
//! It has one connection without Nagle's delay, and its buffers are reused. What it needs for some items is the least that anybody
//! can need for them, so times are told as ratios to it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Bytes of one piece of a request. At most two pieces are on their way without their replies: they fit into the kernel's buffers,
/// or client and server would wait for each other, each with its replies unread.
const PIECE: usize = 64 << 10;

#[derive(Clone, Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Commands in it; each has one reply that ends it.
    commands: usize,
}

/// Commands, made ready to be sent many times.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pieces: Vec<Piece>,
}

impl Request {
    /// One meta get for each key: `mg key v`.
    pub fn meta_gets<K: AsRef<str>>(keys: &[K]) -> Self {
        let mut request = Self::default();
        for key in keys {
            request.push(format!("mg {} v\r\n", key.as_ref()).as_bytes());
        }
        request
    }

    /// One classic `get` of all keys; several if they are too many for one piece.
    pub fn multi_get<K: AsRef<str>>(keys: &[K]) -> Self {
        let mut request = Self::default();
        let mut line = b"get".to_vec();
        for key in keys {
            if line.len() + key.as_ref().len() + 3 > PIECE {
                request.push(&[&line[..], b"\r\n"].concat());
                line.truncate(3);
            }
            line.push(b' ');
            line.extend_from_slice(key.as_ref().as_bytes());
        }
        request.push(&[&line[..], b"\r\n"].concat());
        request
    }

    /// Adds one command: a classic `get`, or a meta command without the flags `q` and `k`.
    pub fn push(&mut self, command: &[u8]) {
        if self.pieces.last().is_none_or(|piece| piece.bytes.len() + command.len() > PIECE) {
            self.pieces.push(Piece::default());
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.bytes.extend_from_slice(command);
            piece.commands += 1;
        }
    }
}

/// A connection to one memcached.
#[derive(Debug)]
pub struct Floor {
    stream: TcpStream,
    replies: Vec<u8>,
    /// What of `replies` was looked at, and what was received.
    read: usize,
    filled: usize,
}

impl Floor {
    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, replies: vec![0; 256 << 10], read: 0, filled: 0 })
    }

    /// Sends all commands and reads all replies; returns how many values were among them.
    ///
    /// # Errors
    ///
    /// Those of the connection, and a reply that is an error.
    pub fn exchange(&mut self, request: &Request) -> io::Result<usize> {
        (self.read, self.filled) = (0, 0);
        let (mut values, mut waiting) = (0, 0);
        for (position, piece) in request.pieces.iter().enumerate() {
            self.stream.write_all(&piece.bytes)?;
            waiting = position;
            if position > 0 {
                values += self.replies(request.pieces[position - 1].commands)?;
            }
        }
        match request.pieces.get(waiting) {
            Some(last) => Ok(values + self.replies(last.commands)?),
            None => Ok(0),
        }
    }

    /// The values under these keys, in the order of the replies; missing ones left out.
    ///
    /// # Errors
    ///
    /// As [`exchange`](Self::exchange).
    pub fn lengths<K: AsRef<str>>(&mut self, keys: &[K]) -> io::Result<Vec<usize>> {
        let mut lengths = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(100) {
            // They fit into the buffers, so one batch after the other will do.
            (self.read, self.filled) = (0, 0);
            let mut request = Vec::new();
            for key in chunk {
                request.extend_from_slice(format!("mg {} s\r\n", key.as_ref()).as_bytes());
            }
            self.stream.write_all(&request)?;
            for _ in chunk {
                let end = self.line()?;
                let line = String::from_utf8_lossy(&self.replies[self.read..end]).into_owned();
                self.read = end;
                lengths.extend(line.trim_end().strip_prefix("HD s").and_then(|size| size.parse::<usize>().ok()));
            }
        }
        Ok(lengths)
    }

    fn replies(&mut self, commands: usize) -> io::Result<usize> {
        let (mut values, mut ended) = (0, 0);
        while ended < commands {
            let end = self.line()?;
            let line = &self.replies[self.read..end];
            let length = if let Some(rest) = line.strip_prefix(b"VA ") {
                ended += 1;
                Some(number(rest))
            } else if line.starts_with(b"VALUE ") {
                // "VALUE key flags length".
                line.rsplit(|byte| *byte == b' ').next().map(number)
            } else {
                if line.starts_with(b"ERROR") || line.starts_with(b"CLIENT_ERROR") || line.starts_with(b"SERVER_ERROR") {
                    return Err(io::Error::other(format!("memcached answers {:?}", String::from_utf8_lossy(line))));
                }
                ended += 1;
                None
            };
            self.read = end;
            if let Some(length) = length {
                values += 1;
                let end = end + length + 2;
                while self.filled < end {
                    self.receive()?;
                }
                self.read = end;
            }
        }
        Ok(values)
    }

    /// Where the next line ends.
    fn line(&mut self) -> io::Result<usize> {
        let mut from = self.read;
        loop {
            if let Some(at) = self.replies[from..self.filled].iter().position(|byte| *byte == b'\n') {
                return Ok(from + at + 1);
            }
            from = self.filled;
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.filled == self.replies.len() {
            self.replies.resize(self.filled * 2, 0);
        }
        let count = self.stream.read(&mut self.replies[self.filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        Ok(())
    }
}

/// The number that some bytes begin with.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn both_ways_find_the_same_values_however_many() {
        // With ends of lines in them, which are none.
        let mut floor = Floor::connect(&fake::server(b"a\nEN\r\nb")).unwrap();
        let keys: Vec<String> = (0..5_000).map(|id| format!("some/longer/key/so/that/there/are/pieces:{id}")).collect();
        assert!(Request::multi_get(&keys).pieces.len() > 2 && Request::meta_gets(&keys).pieces.len() > 2);
        let asked: Vec<&str> = ["missing"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        assert_eq!(floor.exchange(&Request::meta_gets(&asked)).unwrap(), 5_000);
        assert_eq!(floor.exchange(&Request::multi_get(&asked)).unwrap(), 5_000);
        assert_eq!(floor.exchange(&Request::multi_get(&asked[..1])).unwrap(), 0);
        assert_eq!(floor.exchange(&Request::default()).unwrap(), 0);
        assert_eq!(floor.lengths(&asked).unwrap(), vec![7; 5_000]);
    }

    #[test]
    fn an_error_is_told() {
        let mut floor = Floor::connect(&fake::server(b"x")).unwrap();
        let mut wrong = Request::default();
        wrong.push(b"nonsense\r\n");
        assert!(floor.exchange(&wrong).unwrap_err().to_string().contains("ERROR"));
    }
}
