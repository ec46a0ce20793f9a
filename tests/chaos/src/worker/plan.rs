//! What a writer does next.

use crate::history::{Kind, Version};
use crate::spec::{ARTICLES, group};

/// One transaction, or one save. All but the first choose among the comments of this article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Raises the article's version.
    Article(i64),
    /// Raises a comment's.
    Comment(i64),
    /// Raises two comments' in one transaction.
    Two(i64),
    /// Raises the version of a comment's reply.
    Reply(i64),
    /// Moves a comment to the other article of the group.
    Move(i64),
    /// Adds a comment with its reply.
    Insert(i64),
    /// Deletes a comment and its reply.
    Delete(i64),
    /// Raises the article's version, or that of a comment which stays, or adds a comment: outside of transactions.
    Alone(i64),
}

impl Plan {
    pub(super) fn choose() -> Self {
        let article = fastrand::i64(0..ARTICLES);
        match fastrand::u8(..26) {
            0..2 => Self::Article(article),
            2..7 => Self::Comment(article),
            7..9 => Self::Two(article),
            9..14 => Self::Reply(article),
            14..18 => Self::Move(article),
            18 => Self::Insert(article),
            19 => Self::Delete(article),
            _ => Self::Alone(article),
        }
    }

    pub(super) fn article(self) -> i64 {
        match self {
            Self::Article(id)
            | Self::Comment(id)
            | Self::Two(id)
            | Self::Reply(id)
            | Self::Move(id)
            | Self::Insert(id)
            | Self::Delete(id)
            | Self::Alone(id) => id,
        }
    }
}

/// What a transaction has written: for the database's log, the history, and the naive schemes.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    events: Vec<(Version, Option<i64>)>,
    group: i64,
    op: i64,
}

impl Written {
    pub(super) fn new(plan: Plan, op: i64) -> Self {
        Self { events: Vec::new(), group: group(plan.article()), op }
    }

    pub(super) fn note(&mut self, kind: Kind, id: i64, version: i64, article: Option<i64>) {
        self.events.push(((kind, id, version), article));
    }

    pub(super) fn versions(&self) -> Vec<Version> {
        self.events.iter().map(|(version, _)| *version).collect()
    }

    /// The statement that logs it, in the same transaction. `None` if nothing was written.
    pub(super) fn log_sql(&self) -> Option<String> {
        let rows: Vec<String> = self
            .events
            .iter()
            .map(|((kind, id, version), article)| {
                let article = article.map_or("NULL".to_owned(), |id| id.to_string());
                format!("({}, {id}, {version}, {}, {article}, {})", kind.number(), self.group, self.op)
            })
            .collect();
        (!rows.is_empty()).then(|| format!("INSERT INTO event (kind, id, version, grp, article_id, op) VALUES {}", rows.join(", ")))
    }

    /// The group's articles: what naive schemes invalidate beside the rows themselves.
    pub(super) fn articles(&self) -> [i64; 2] {
        [self.group * 2, self.group * 2 + 1]
    }

    pub(super) fn comments(&self) -> impl Iterator<Item = i64> {
        self.events.iter().filter(|((kind, ..), _)| *kind != Kind::Article).map(|((_, id, _), _)| *id)
    }
}
