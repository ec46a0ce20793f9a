//! All that a model can say, and all that Diesel says beside it.

use cachesweeper_core::face::Face as _;
use cachesweeper_diesel::{CacheSweep, Collection, Strategy, Sweeper};
use diesel::prelude::*;

mod schema {
    diesel::table! {
        articles (id) {
            id -> BigInt,
            updated_at -> Timestamp,
        }
    }

    diesel::table! {
        comments (id) {
            id -> BigInt,
            article_id -> BigInt,
            parent_id -> Nullable<BigInt>,
            body -> Text,
            views -> Integer,
            created_by -> Text,
            updated_at -> Timestamp,
        }
    }

    diesel::joinable!(comments -> articles (article_id));
    diesel::allow_tables_to_appear_in_same_query!(articles, comments);
}

#[derive(Queryable, Selectable, Identifiable, AsChangeset, Insertable, CacheSweep, Clone, Debug, PartialEq, Eq)]
#[diesel(table_name = schema::articles)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
#[sweep(using = "updated_at")]
struct Article {
    id: i64,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, Selectable, Clone, Debug)]
#[diesel(table_name = schema::comments)]
struct Stamps {
    created_by: String,
}

#[derive(Queryable, Selectable, Identifiable, Associations, AsChangeset, CacheSweep, Clone, Debug)]
#[diesel(table_name = crate::schema::comments)]
#[diesel(primary_key(id))]
#[diesel(belongs_to(Article))]
#[diesel(belongs_to(Comment, foreign_key = parent_id))]
#[diesel(treat_none_as_null = true)]
#[sweep(using = "updated_at", collection, max_depth = 8)]
#[sweep(parents(Article, Comment))]
struct Comment {
    id: i64,
    article_id: i64,
    parent_id: Option<i64>,
    #[diesel(column_name = body)]
    text: String,
    #[sweep(skip)]
    views: i32,
    updated_at: chrono::NaiveDateTime,
}

#[derive(Queryable, Selectable, CacheSweep, Clone, Debug)]
#[diesel(table_name = crate::schema::comments)]
struct Shown {
    id: i64,
    #[diesel(column_name = "body")]
    text: String,
    #[diesel(embed)]
    stamps: Stamps,
    #[diesel(select_expression = schema::comments::views.gt(100))]
    #[diesel(select_expression_type = diesel::dsl::Gt<schema::comments::views, i32>)]
    popular: bool,
}

fn main() {
    fn kept<T: Collection>() {}
    kept::<Comment>();
    // Two models of one table are refused when the sweeper is built.
    let problem = Sweeper::builder().memory(1 << 20).build().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(problem.contains("comments"), "{problem}");
    let comment = Comment::entity().info();
    assert_eq!(
        (comment.name.as_str(), comment.strategy, comment.max_depth, comment.collection),
        ("comments", Strategy::UpdatedAt, Some(8), true)
    );
    let _ = Sweeper::graph;
    let stamps = Stamps { created_by: "ann".into() };
    let shown = Shown { id: 7, text: "t".into(), stamps, popular: true };
    assert_eq!(shown.record_key(), Shown::key(7));
    assert_ne!(shown.row_digest(), Shown { popular: false, ..shown.clone() }.row_digest());
}
