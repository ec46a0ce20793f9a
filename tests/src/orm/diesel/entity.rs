//! The site's entities for Diesel. Both ORMs' entities are in one registry here, as in a program that moves from one to the
//! other: they must agree about strategies and parents.
#![allow(missing_docs, reason = "Diesel's macros write items without")]

use cachesweeper_diesel::CacheSweep;
use chrono::NaiveDateTime;
use diesel::prelude::*;

pub mod schema {
    //! As `diesel print-schema` has it.

    diesel::table! {
        article (id) {
            id -> BigInt,
            title -> Text,
            views -> Integer,
            updated_at -> Timestamp,
        }
    }

    diesel::table! {
        comment (id) {
            id -> BigInt,
            article_id -> Nullable<BigInt>,
            parent_id -> Nullable<BigInt>,
            body -> Text,
            views -> Integer,
        }
    }

    diesel::table! {
        vote (id) {
            id -> BigInt,
            comment_id -> BigInt,
            voter -> Text,
        }
    }

    diesel::table! {
        tag (name) {
            name -> Text,
            note -> Text,
        }
    }

    diesel::table! {
        label (article_id, tag_name) {
            article_id -> BigInt,
            tag_name -> Text,
            weight -> Integer,
        }
    }

    diesel::table! {
        coarse (id) {
            id -> BigInt,
            body -> Text,
            changed_at -> Timestamp,
        }
    }

    diesel::table! {
        part (id) {
            id -> BigInt,
            coarse_id -> BigInt,
        }
    }

    diesel::allow_tables_to_appear_in_same_query!(article, comment, vote, tag, label);
}

use schema::{article, coarse, comment, label, part, tag, vote};

/// Versioned by its own column, and as a collection.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, CacheSweep)]
#[diesel(table_name = article)]
#[sweep(using = "updated_at", collection)]
pub struct Article {
    pub id: i64,
    pub title: String,
    #[sweep(skip)]
    pub views: i32,
    pub updated_at: NaiveDateTime,
}

/// Versioned by a counter; below an article, and below another comment if it is a reply.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, AsChangeset, CacheSweep)]
#[diesel(table_name = comment, belongs_to(Article), belongs_to(Comment, foreign_key = parent_id))]
#[sweep(max_depth = 8)]
pub struct Comment {
    pub id: i64,
    pub article_id: Option<i64>,
    pub parent_id: Option<i64>,
    pub body: String,
    #[sweep(skip)]
    pub views: i32,
}

/// Below a comment; each voter once.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, CacheSweep)]
#[diesel(table_name = vote, belongs_to(Comment))]
pub struct Vote {
    pub id: i64,
    pub comment_id: i64,
    pub voter: String,
}

/// Named by text, which some databases compare without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Insertable, CacheSweep)]
#[diesel(table_name = tag, primary_key(name))]
pub struct Tag {
    pub name: String,
    pub note: String,
}

/// Below an article and a tag; its key has two parts.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, Insertable, AsChangeset, CacheSweep)]
#[diesel(table_name = label, primary_key(article_id, tag_name), belongs_to(Article), belongs_to(Tag, foreign_key = tag_name))]
pub struct Label {
    pub article_id: i64,
    pub tag_name: String,
    pub weight: i32,
}

/// Versioned by a column that keeps whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Insertable, CacheSweep)]
#[diesel(table_name = coarse)]
#[sweep(using = "changed_at")]
pub struct Coarse {
    pub id: i64,
    pub body: String,
    pub changed_at: NaiveDateTime,
}

/// Below a coarse row.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Identifiable, Associations, Insertable, CacheSweep)]
#[diesel(table_name = part, belongs_to(Coarse))]
pub struct Part {
    pub id: i64,
    pub coarse_id: i64,
}

/// A comment to be inserted.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = comment)]
pub struct NewComment {
    pub article_id: Option<i64>,
    pub parent_id: Option<i64>,
    pub body: String,
    pub views: i32,
}

/// A vote to be inserted.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = vote)]
pub struct NewVote {
    pub comment_id: i64,
    pub voter: String,
}

/// An article to be inserted.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = article)]
pub struct NewArticle {
    pub title: String,
    pub views: i32,
    pub updated_at: NaiveDateTime,
}

impl NewArticle {
    /// One of this moment.
    pub fn now(title: &str) -> Self {
        Self { title: title.into(), views: 0, updated_at: chrono::Utc::now().naive_utc() }
    }
}

impl NewComment {
    /// One with a body that nobody has edited yet.
    pub fn below(article_id: Option<i64>, parent_id: Option<i64>) -> Self {
        Self { article_id, parent_id, body: "first".into(), views: 0 }
    }
}

crate::orm::rows::from_row! {
    Article <=> Article { id, title, views, updated_at };
    Comment <=> Comment { id, article_id, parent_id, body, views };
    Vote <=> Vote { id, comment_id, voter };
    Tag <=> Tag { name, note };
    Label <=> Label { article_id, tag_name, weight };
    Coarse <=> Coarse { id, body, changed_at };
}
