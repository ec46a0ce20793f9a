//! The tables, for Diesel, and connections to either database.
#![allow(missing_docs, unreachable_pub, reason = "Diesel's macros write public items")]

use cachesweeper_diesel::{CacheSweep, SweepConn};
use chrono::NaiveDateTime;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::{ConnectionResult, MultiConnection, MysqlConnection, PgConnection};

use crate::history::{Event, Kind, Version};
use crate::spec::{ARTICLES, COMMENTS, group, has_topic};

diesel::table! {
    topic (id) { id -> BigInt, changed -> Timestamp, }
}
diesel::table! {
    article (id) { id -> BigInt, topic_id -> Nullable<BigInt>, version -> BigInt, op -> BigInt, }
}
diesel::table! {
    comment (id) { id -> BigInt, article_id -> BigInt, version -> BigInt, op -> BigInt, }
}
diesel::table! {
    reply (id) { id -> BigInt, comment_id -> BigInt, version -> BigInt, }
}
diesel::table! {
    event (kind, id, version) { kind -> BigInt, id -> BigInt, version -> BigInt, grp -> BigInt, article_id -> Nullable<BigInt>, op -> BigInt, }
}

#[derive(Clone, Debug, PartialEq, Eq, Queryable, Identifiable, Insertable, CacheSweep)]
#[diesel(table_name = topic)]
#[sweep(using = "changed")]
pub struct Topic {
    pub id: i64,
    pub changed: NaiveDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Queryable, Identifiable, Insertable, Associations, CacheSweep)]
#[diesel(table_name = article, belongs_to(Topic))]
pub struct Article {
    pub id: i64,
    pub topic_id: Option<i64>,
    pub version: i64,
    /// The last save outside of transactions. See `log_alone`.
    pub op: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Queryable, Identifiable, Insertable, Associations, CacheSweep)]
#[diesel(table_name = comment, belongs_to(Article))]
pub struct Comment {
    pub id: i64,
    pub article_id: i64,
    pub version: i64,
    pub op: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Queryable, Identifiable, Insertable, Associations, CacheSweep)]
#[diesel(table_name = reply, belongs_to(Comment))]
pub struct Reply {
    pub id: i64,
    pub comment_id: i64,
    pub version: i64,
}

/// A connection to one of the databases.
#[derive(MultiConnection, SweepConn)]
pub enum Db {
    Postgres(PgConnection),
    MySql(MysqlConnection),
}

impl Db {
    /// Connects, by the URL's scheme.
    pub fn open(url: &str) -> ConnectionResult<Self> {
        if url.starts_with("postgres") {
            Ok(Self::Postgres(PgConnection::establish(url)?))
        } else {
            Ok(Self::MySql(MysqlConnection::establish(url)?))
        }
    }

    /// Makes the tables anew, with their first content.
    pub fn reset(&mut self) -> QueryResult<()> {
        for table in ["topic", "article", "comment", "reply", "event"] {
            self.batch_execute(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
        for table in [
            "article (id BIGINT PRIMARY KEY, topic_id BIGINT NULL, version BIGINT NOT NULL, op BIGINT NOT NULL DEFAULT 0)",
            "comment (id BIGINT PRIMARY KEY, article_id BIGINT NOT NULL, version BIGINT NOT NULL, op BIGINT NOT NULL DEFAULT 0)",
            "reply (id BIGINT PRIMARY KEY, comment_id BIGINT NOT NULL, version BIGINT NOT NULL)",
            "event (kind BIGINT NOT NULL, id BIGINT NOT NULL, version BIGINT NOT NULL, grp BIGINT NOT NULL, article_id BIGINT NULL, \
             op BIGINT NOT NULL, PRIMARY KEY (kind, id, version))",
        ] {
            self.batch_execute(&format!("CREATE TABLE {table}"))?;
        }
        let time = if matches!(self, Self::Postgres(_)) { "TIMESTAMP(6)" } else { "DATETIME(6)" };
        self.batch_execute(&format!("CREATE TABLE topic (id BIGINT PRIMARY KEY, changed {time} NOT NULL)"))?;
        for index in ["comment_of ON comment (article_id)", "reply_of ON reply (comment_id)", "event_of ON event (grp, kind, id, version)"]
        {
            self.batch_execute(&format!("CREATE INDEX {index}"))?;
        }
        self.log_alone()?;
        for article in 0..ARTICLES {
            let group = group(article);
            if has_topic(group) && article % 2 == 0 {
                self.batch_execute(&format!("INSERT INTO topic VALUES ({group}, '2020-01-01 00:00:00')"))?;
            }
            let topic = if has_topic(group) { group.to_string() } else { "NULL".to_owned() };
            self.batch_execute(&format!("INSERT INTO article (id, topic_id, version) VALUES ({article}, {topic}, 1)"))?;
            let mut log = vec![format!("({}, {article}, 1, {group}, NULL, 0)", Kind::Article.number())];
            for id in (1..=COMMENTS).map(|number| article * 100 + number) {
                self.batch_execute(&format!("INSERT INTO comment (id, article_id, version) VALUES ({id}, {article}, 1)"))?;
                self.batch_execute(&format!("INSERT INTO reply VALUES ({id}, {id}, 1)"))?;
                for kind in [Kind::Comment, Kind::Reply] {
                    log.push(format!("({}, {id}, 1, {group}, {article}, 0)", kind.number()));
                }
            }
            self.batch_execute(&format!("INSERT INTO event VALUES {}", log.join(", ")))?;
        }
        Ok(())
    }

    /// A save outside of transactions is one statement. It sets `op` alone; the database raises the version and logs it, at once.
    fn log_alone(&mut self) -> QueryResult<()> {
        let tables = [("article", Kind::Article, ["NEW.id", "NULL"]), ("comment", Kind::Comment, ["NEW.article_id", "NEW.article_id"])];
        for (table, kind, [article, place]) in tables {
            let kind = kind.number();
            let log = |group| format!("INSERT INTO event VALUES ({kind}, NEW.id, NEW.version, {group}, {place}, NEW.op)");
            match self {
                Self::Postgres(conn) => {
                    let log = log(format!("{article} / 2"));
                    conn.batch_execute(&format!(
                        "CREATE OR REPLACE FUNCTION {table}_alone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                         IF TG_OP = 'INSERT' THEN IF NEW.op <> 0 THEN {log}; END IF; \
                         ELSIF NEW.op <> OLD.op THEN NEW.version := OLD.version + 1; {log}; END IF; \
                         RETURN NEW; END $$; \
                         CREATE TRIGGER {table}_alone BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_alone()"
                    ))?;
                }
                Self::MySql(conn) => {
                    let log = log(format!("{article} DIV 2"));
                    conn.batch_execute(&format!(
                        "CREATE TRIGGER {table}_added BEFORE INSERT ON {table} FOR EACH ROW BEGIN IF NEW.op <> 0 THEN {log}; END IF; END"
                    ))?;
                    conn.batch_execute(&format!(
                        "CREATE TRIGGER {table}_raised BEFORE UPDATE ON {table} FOR EACH ROW BEGIN \
                         IF NEW.op <> OLD.op THEN SET NEW.version = OLD.version + 1; {log}; END IF; END"
                    ))?;
                }
            }
        }
        Ok(())
    }

    /// The latest committed versions of a group's rows.
    pub fn witness(&mut self, group: i64) -> QueryResult<Vec<Version>> {
        use diesel::dsl::max;
        let rows: Vec<(i64, i64, Option<i64>)> = event::table
            .filter(event::grp.eq(group))
            .group_by((event::kind, event::id))
            .select((event::kind, event::id, max(event::version)))
            .load(self)?;
        Ok(rows.into_iter().filter_map(|(kind, id, version)| Some((Kind::of(kind)?, id, version?))).collect())
    }

    /// Everything that has been committed.
    pub fn events(&mut self) -> QueryResult<Vec<Event>> {
        let rows: Vec<(i64, i64, i64, i64, Option<i64>, i64)> = event::table.load(self)?;
        let event = |(kind, id, version, group, article, op)| Some(Event { version: (Kind::of(kind)?, id, version), group, article, op });
        Ok(rows.into_iter().filter_map(event).collect())
    }

    /// The rows as they are: each with its version, and a comment's place.
    pub fn rows(&mut self) -> QueryResult<Vec<(Version, Option<i64>)>> {
        let articles: Vec<Article> = article::table.load(self)?;
        let comments: Vec<Comment> = comment::table.load(self)?;
        let replies: Vec<Reply> = reply::table.load(self)?;
        let articles = articles.into_iter().map(|row| ((Kind::Article, row.id, row.version), None));
        let comments = comments.into_iter().map(|row| ((Kind::Comment, row.id, row.version), Some(row.article_id)));
        let replies = replies.into_iter().map(|row| ((Kind::Reply, row.comment_id, row.version), None));
        Ok(articles.chain(comments).chain(replies).collect())
    }
}
