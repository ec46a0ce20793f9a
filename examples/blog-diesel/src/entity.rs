//! The tables and their rows. An article keeps its version in its own column; comments and votes have counters in the store.

use blog_site::views::{ArticleRow, CommentRow, CommentView, StoryView};
use cachesweeper_diesel::CacheSweep;
use chrono::NaiveDateTime;
use diesel::prelude::*;

// Every time is in UTC. On PostgreSQL the columns have a zone, which Diesel's sessions set to UTC; an enum of connections has
// but the types that all databases know.
diesel::table! {
    /// Links and questions.
    article (id) {
        /// Given by who adds it: imported stories keep their ids.
        id -> BigInt,
        /// Its title.
        title -> Text,
        /// What it links to.
        url -> Nullable<Text>,
        /// Who submitted it.
        author -> Text,
        /// When it was submitted.
        created_at -> Timestamp,
        /// Its version.
        updated_at -> Timestamp,
    }
}

diesel::table! {
    /// Comments on articles, and replies to them.
    comment (id) {
        /// Made by the database.
        id -> BigInt,
        /// What it is about.
        article_id -> BigInt,
        /// The comment that it replies to.
        parent_id -> Nullable<BigInt>,
        /// Who wrote it.
        author -> Text,
        /// What it says.
        text -> Text,
        /// When it was written.
        created_at -> Timestamp,
    }
}

diesel::table! {
    /// Votes on articles, or on comments.
    vote (id) {
        /// Made by the database.
        id -> BigInt,
        /// An article.
        article_id -> Nullable<BigInt>,
        /// Or a comment.
        comment_id -> Nullable<BigInt>,
        /// Who voted.
        voter -> Text,
        /// When.
        created_at -> Timestamp,
    }
}

/// An article: a link or a question, with comments and votes.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Insertable, CacheSweep)]
#[diesel(table_name = article, treat_none_as_default_value = false)]
#[sweep(using = "updated_at", collection)]
pub(crate) struct Article {
    pub(crate) id: i64,
    pub(crate) title: String,
    pub(crate) url: Option<String>,
    pub(crate) author: String,
    pub(crate) created_at: NaiveDateTime,
    /// Its version: every vote and comment below it moves it on. The front page is in this order.
    pub(crate) updated_at: NaiveDateTime,
}

/// A comment on an article, or a reply to another one.
///
/// A comment's fragment shows no replies, so a reply, or a vote for one, need not sweep the comments above it: `parent_id` is
/// no association.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = comment, belongs_to(Article))]
pub(crate) struct Comment {
    pub(crate) id: i64,
    pub(crate) article_id: i64,
    pub(crate) parent_id: Option<i64>,
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) created_at: NaiveDateTime,
}

/// A comment that is to be added.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = comment, treat_none_as_default_value = false)]
pub(crate) struct NewComment<'a> {
    pub(crate) article_id: i64,
    pub(crate) parent_id: Option<i64>,
    pub(crate) author: &'a str,
    pub(crate) text: &'a str,
    pub(crate) created_at: NaiveDateTime,
}

/// A vote: on an article, or on a comment.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = vote, belongs_to(Article), belongs_to(Comment))]
pub(crate) struct Vote {
    pub(crate) id: i64,
    pub(crate) article_id: Option<i64>,
    pub(crate) comment_id: Option<i64>,
    pub(crate) voter: String,
    pub(crate) created_at: NaiveDateTime,
}

/// A vote that is to be added.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = vote, treat_none_as_default_value = false)]
pub(crate) struct NewVote<'a> {
    pub(crate) article_id: Option<i64>,
    pub(crate) comment_id: Option<i64>,
    pub(crate) voter: &'a str,
    pub(crate) created_at: NaiveDateTime,
}

impl ArticleRow for Article {
    fn id(&self) -> i64 {
        self.id
    }

    fn view(&self, votes: i64, comments: i64) -> StoryView<'_> {
        let Self { id, title, url, author, created_at, .. } = self;
        StoryView { id: *id, title, url: url.as_deref(), author, created_at: created_at.and_utc(), votes, comments }
    }
}

impl CommentRow for Comment {
    fn id(&self) -> i64 {
        self.id
    }

    fn parent(&self) -> Option<i64> {
        self.parent_id
    }

    fn view(&self, votes: i64) -> CommentView<'_> {
        let Self { id, article_id, author, text, created_at, .. } = self;
        CommentView { id: *id, article: *article_id, author, text, created_at: created_at.and_utc(), votes }
    }
}
