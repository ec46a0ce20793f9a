//! Which relations are swept.

use cachesweeper_core::face::Face as _;
use cachesweeper_diesel::CacheSweep;
use diesel::prelude::*;

use crate::{sweeper, with_node};

diesel::table! {
    parent_users (id) {
        id -> BigInt,
    }
}

diesel::table! {
    parent_places (id) {
        id -> Double,
    }
}

#[derive(Identifiable, CacheSweep)]
#[diesel(table_name = parent_users)]
pub struct User {
    id: i64,
}

/// Not swept, and its key could not name a record.
pub struct Place {
    id: f64,
}

macro_rules! texts {
    ($($name:ident $table:ident $(#[$sweep:meta])* $([$skip:meta])?;)*) => {$(
        mod $name {
            use super::*;

            diesel::table! {
                $table (id) {
                    id -> BigInt,
                    author_id -> BigInt,
                    editor_id -> Nullable<BigInt>,
                    place_id -> Nullable<Double>,
                    above_id -> Nullable<BigInt>,
                }
            }

            // No `Associations`: Diesel allows but one relation to a type.
            #[derive(CacheSweep)]
            #[diesel(table_name = $table, belongs_to(Text, foreign_key = above_id))]
            #[diesel(belongs_to(User, foreign_key = author_id))]
            #[diesel(belongs_to(crate::parents::Reader, foreign_key = editor_id), belongs_to(Place))]
            $(#[$sweep])*
            pub struct Text {
                id: i64,
                author_id: i64,
                $(#[$skip])?
                editor_id: Option<i64>,
                #[allow(dead_code)]
                place_id: Option<f64>,
                above_id: Option<i64>,
            }
        }
    )*};
}

diesel::table! {
    parent_readers (id) {
        id -> BigInt,
    }
}

#[derive(CacheSweep)]
#[diesel(table_name = parent_readers)]
pub struct Reader {
    id: i64,
}

texts! {
    all parent_all_texts;
    narrowed parent_narrowed_texts #[sweep(parents(User))] [sweep(skip)];
    own parent_own_texts #[sweep(parents(Text, Reader), max_depth = 8)];
    none parent_no_texts #[sweep(parents())];
}

#[test]
fn parents_are_swept_that_derive_it_and_are_listed_if_there_is_a_list() {
    let parents = |table: &str| {
        let mut parents = with_node(table, |node| node.parents.clone());
        parents.sort();
        parents
    };
    assert_eq!(parents("parent_all_texts"), ["parent_all_texts", "parent_readers", "parent_users"]);
    assert_eq!(parents("parent_narrowed_texts"), ["parent_users"]);
    assert_eq!(parents("parent_own_texts"), ["parent_own_texts", "parent_readers"]);
    assert!(parents("parent_no_texts").is_empty());
    let sweeper = sweeper();
    assert!(sweeper.graph().is_ancestor("parent_users", "parent_all_texts"));
    assert!(!sweeper.graph().is_ancestor("parent_readers", "parent_narrowed_texts"));
}

#[test]
fn a_self_reference_is_a_cycle_with_a_bound() {
    assert!(with_node("parent_all_texts", |node| node.cyclic && node.max_depth == 64));
    assert!(with_node("parent_own_texts", |node| node.cyclic && node.max_depth == 8));
    assert!(with_node("parent_narrowed_texts", |node| !node.cyclic));
}

mod inferred {
    use super::*;

    diesel::table! {
        blog_posts (id) {
            id -> Integer,
        }
    }

    diesel::table! {
        blog_comments (id) {
            id -> Integer,
            blog_post_id -> Integer,
        }
    }

    diesel::joinable!(blog_comments -> blog_posts (blog_post_id));
    diesel::allow_tables_to_appear_in_same_query!(blog_comments, blog_posts);

    #[derive(Queryable, Selectable, Identifiable, CacheSweep)]
    pub struct BlogPost {
        id: i32,
    }

    #[derive(Queryable, Selectable, Identifiable, Associations, CacheSweep)]
    #[diesel(belongs_to(BlogPost))]
    pub struct BlogComment {
        id: i32,
        blog_post_id: i32,
    }
}

#[test]
fn tables_and_foreign_keys_are_inferred_as_diesel_does() {
    assert_eq!(with_node("blog_comments", |node| node.parents.clone()), ["blog_posts"]);
}

mod composite {
    use super::*;

    diesel::table! {
        parent_members (user_id, role) {
            user_id -> BigInt,
            role -> Text,
        }
    }

    diesel::table! {
        parent_grants (id) {
            id -> BigInt,
            member_id -> BigInt,
        }
    }

    #[derive(CacheSweep)]
    #[diesel(table_name = parent_members, primary_key(user_id, role))]
    pub struct Member {
        user_id: i64,
        role: String,
    }

    /// To whom else it belongs cannot be said with one column.
    #[derive(CacheSweep)]
    #[diesel(table_name = parent_grants, belongs_to(Member))]
    #[sweep(parents())]
    pub struct Grant {
        id: i64,
        member_id: i64,
    }
}

#[test]
fn a_parent_with_a_composite_key_can_be_left_out() {
    assert!(with_node("parent_grants", |node| node.parents.is_empty()));
}
