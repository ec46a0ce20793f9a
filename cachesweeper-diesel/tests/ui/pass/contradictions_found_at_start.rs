//! A parent's primary key is known when the first sweeper is built: one column cannot point to a composite one.

use cachesweeper_diesel::CacheSweep;

diesel::table! {
    members (user_id, role) {
        user_id -> BigInt,
        role -> Text,
    }
}

diesel::table! {
    grants (id) {
        id -> BigInt,
        member_id -> BigInt,
    }
}

#[derive(CacheSweep)]
#[diesel(primary_key(user_id, role))]
#[allow(dead_code)]
struct Member {
    user_id: i64,
    role: String,
}

#[derive(CacheSweep)]
#[diesel(belongs_to(Member))]
#[allow(dead_code)]
struct Grant {
    id: i64,
    member_id: i64,
}

fn main() {
    let problem = cachesweeper_diesel::registry::Graph::new([Grant::entity()]).expect_err("refused").to_string();
    assert_eq!(
        problem.replace(module_path!(), "app"),
        "the model `app::Grant`: the parent `members` has a primary key of 2 columns, to which `member_id` alone cannot point. Leave it \
         out: #[sweep(parents(…))]"
    );
}
