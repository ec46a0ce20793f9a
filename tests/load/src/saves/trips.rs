//! What one round trip takes to either server, in the same minute: nothing that asks them can be faster.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use diesel::prelude::*;

use crate::Failure;
use crate::saves::quantile;

/// How many are measured at a time.
const TRIPS: usize = 200;

/// A connection to each server.
pub(super) struct Trips {
    postgres: PgConnection,
    memcached: TcpStream,
}

impl Trips {
    pub(super) fn open(postgres: &str, memcached: &str) -> Result<Self, Failure> {
        let memcached = TcpStream::connect(memcached)?;
        memcached.set_nodelay(true)?;
        memcached.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self { postgres: PgConnection::establish(postgres)?, memcached })
    }

    /// The median of `SELECT 1`, in µs.
    pub(super) fn postgres_trip(&mut self) -> Result<f64, Failure> {
        median(|| Ok(diesel::sql_query("SELECT 1").execute(&mut self.postgres).map(drop)?))
    }

    /// The median of memcached's no-op, in µs.
    pub(super) fn memcached_trip(&mut self) -> Result<f64, Failure> {
        median(|| {
            self.memcached.write_all(b"mn\r\n")?;
            Ok(self.memcached.read_exact(&mut [0; b"MN\r\n".len()])?)
        })
    }
}

fn median(mut trip: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut took = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = Instant::now();
        trip()?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(quantile(&took, 0.5))
}
