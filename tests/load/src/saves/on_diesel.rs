//! The saves on Diesel.

use std::time::{Duration, Instant};

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::{RecordKey, Sweeper};
use diesel::prelude::*;

use crate::Failure;
use crate::saves::{Kind, Over, Saver};

diesel::table! { saves_d_article (id) { id -> BigInt, title -> Text, } }
diesel::table! { saves_d_comment (id) { id -> BigInt, article_id -> BigInt, body -> Text, } }
diesel::table! { saves_d_vote (id) { id -> BigInt, comment_id -> BigInt, voter -> Text, } }

#[derive(Queryable, Identifiable, CacheSweep)]
#[diesel(table_name = saves_d_article)]
#[allow(dead_code, reason = "only what is derived is used")]
struct Article {
    id: i64,
    title: String,
}

#[derive(Queryable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = saves_d_comment, belongs_to(Article))]
#[allow(dead_code, reason = "only what is derived is used")]
struct Comment {
    id: i64,
    article_id: i64,
    body: String,
}

#[derive(Queryable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = saves_d_vote, belongs_to(Comment))]
#[allow(dead_code, reason = "only what is derived is used")]
struct Vote {
    id: i64,
    comment_id: i64,
    voter: String,
}

/// Three connections, two of them with a sweeper.
pub(super) struct Connections {
    bare: PgConnection,
    embedded: (PgConnection, Sweeper),
    memcached: (PgConnection, Sweeper),
}

impl Connections {
    pub(super) fn open(postgres: &str, memcached: &str) -> Result<Self, Failure> {
        let open = || PgConnection::establish(postgres);
        let builder = || Sweeper::builder().namespace("saves");
        let embedded = builder().memory(64 << 20).build()?;
        let memcached = builder().memcached([memcached]).build()?;
        for sweeper in [&embedded, &memcached] {
            warm_up(sweeper)?;
        }
        Ok(Self { bare: open()?, embedded: (open()?, embedded), memcached: (open()?, memcached) })
    }
}

/// Waits until the store's node is used: a new one is bypassed for the longest hold.
fn warm_up(sweeper: &Sweeper) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let render = || Ok::<_, std::convert::Infallible>("warm");
        let served = sweeper.fragment(RecordKey::new("saves_d_article", 0), "warm").get_or_render(render)?;
        if served.outcome().word() != "bypass" {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("the store is bypassed for 30 s: {:?}", served.outcome()).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

macro_rules! save {
    ($self:ident, $over:ident, $inside:expr, $table:ident :: $column:ident of $id:ident = $text:ident) => {{
        let (row, change) = ($table::table.find($id), $table::$column.eq($text));
        let (conn, sweeper) = match $over {
            Over::Bare => (&mut $self.bare, None),
            Over::Embedded => (&mut $self.embedded.0, Some(&$self.embedded.1)),
            Over::Memcached => (&mut $self.memcached.0, Some(&$self.memcached.1)),
        };
        let began = Instant::now();
        let changed = match (sweeper, $inside) {
            (None, false) => diesel::update(row).set(change).execute(conn),
            (None, true) => conn.transaction(|conn| diesel::update(row).set(change).execute(conn)),
            (Some(sweeper), false) => sweeper.update_and_sweep(conn, row, change),
            (Some(sweeper), true) => sweeper.transaction(conn, |conn| sweeper.update_and_sweep(conn, row, change)),
        };
        (changed, began.elapsed())
    }};
}

impl Saver for Connections {
    const PREFIX: &'static str = "saves_d_";

    fn save(&mut self, over: Over, kind: Kind, id: i64, text: &str) -> Result<Duration, Failure> {
        let (changed, took) = match kind.vote {
            true => save!(self, over, kind.inside, saves_d_vote::voter of id = text),
            false => save!(self, over, kind.inside, saves_d_comment::body of id = text),
        };
        match changed? {
            1 => Ok(took),
            other => Err(format!("a save has changed {other} rows").into()),
        }
    }

    fn sent(&self, over: Over) -> (u64, u64) {
        let stats = match over {
            Over::Bare => return (0, 0),
            Over::Embedded => self.embedded.1.stats(),
            Over::Memcached => self.memcached.1.stats(),
        };
        (stats.round_trips, stats.store_operations)
    }
}
