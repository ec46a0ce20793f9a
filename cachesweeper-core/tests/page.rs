//! Pages: tags answered from memory, fills in one batch, and never from data that may be too old.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use cachesweeper_core::blocking::{Page, Sweeper};
use cachesweeper_core::{CacheSweep, Outcome, RecordKey, TagError, TagSettings, Tags};
use support::{Article, Comment, World};

fn tag(page: &Page, row: &Comment, body: &str) -> Outcome {
    let settings = TagSettings { name: "c".into(), ttl: None, vary: vec![] };
    let mut on = Vec::new();
    cachesweeper_core::Dependencies::collect_into(row, &mut on);
    page.tag(on, settings, &mut || Ok(body.to_owned())).unwrap().outcome()
}

fn rows(count: i64) -> Vec<Comment> {
    (0..count).map(|id| Comment(id, "text")).collect()
}

/// A page that prefetches and renders all rows.
fn whole_page(sweeper: &Sweeper, rows: &[Comment]) -> Vec<Outcome> {
    let page = sweeper.page();
    page.prefetch(rows, "c");
    let outcomes = rows.iter().map(|row| tag(&page, row, "body")).collect();
    page.finish();
    outcomes
}

#[test]
fn a_page_costs_one_round_trip_to_read_and_one_to_fill() {
    let world = World::new();
    let sweeper = world.warm();
    let rows = rows(100);
    whole_page(&sweeper, &rows);
    // The logs were just made: only now has everything that they know of settled.
    world.clock.advance(Duration::from_secs(12));
    let before = world.store.batch_count();
    assert!(whole_page(&sweeper, &rows).iter().all(|outcome| *outcome == Outcome::Miss));
    assert_eq!(world.store.batch_count() - before, 2);
    let before = world.store.batch_count();
    assert!(whole_page(&sweeper, &rows).iter().all(|outcome| *outcome == Outcome::Hit));
    assert_eq!(world.store.batch_count() - before, 1);
    assert_eq!(sweeper.stats().fills, 100 + 1, "the page's, and one of the warm-up");
}

#[test]
fn data_that_may_have_been_loaded_before_a_write_are_not_stored() {
    let world = World::new();
    let sweeper = world.warm();
    let rows = rows(1);
    let key = rows[0].record_key();
    whole_page(&sweeper, &rows);
    world.clock.advance(Duration::from_secs(12));

    // The page is opened and loads its data; then a write commits; then the tags are looked up.
    let page = sweeper.page();
    world.clock.advance(Duration::from_millis(5));
    let mark = sweeper.mark(std::slice::from_ref(&key)).unwrap();
    world.clock.advance(Duration::from_millis(5));
    sweeper.release(&mark);
    page.prefetch(&rows, "c");
    assert_eq!(tag(&page, &rows[0], "old"), Outcome::Unstorable);
    page.finish();

    // Opened within the skew after the release: another process's clock may say that it was before.
    world.clock.advance(Duration::from_millis(400));
    assert_eq!(whole_page(&sweeper, &rows), [Outcome::Unstorable]);
    world.clock.advance(Duration::from_millis(200));
    assert_eq!(whole_page(&sweeper, &rows), [Outcome::Miss]);
    assert_eq!(whole_page(&sweeper, &rows), [Outcome::Hit]);
}

#[test]
fn an_unreleased_mark_counts_until_its_deadline() {
    let world = World::new();
    let sweeper = world.warm();
    let rows = rows(1);
    whole_page(&sweeper, &rows);
    world.clock.advance(Duration::from_secs(12));
    drop(sweeper.mark(&[rows[0].record_key()]).unwrap());
    let page = sweeper.page();
    world.clock.advance(Duration::from_millis(3_600));
    page.prefetch(&rows, "c");
    assert_eq!(tag(&page, &rows[0], "old"), Outcome::Unstorable, "opened before the deadline");
    assert_eq!(whole_page(&sweeper, &rows), [Outcome::Miss], "opened after it");
}

#[test]
fn a_timestamp_row_is_stored_by_a_page_when_its_value_has_settled() {
    let world = World::new();
    let sweeper = world.warm();
    let now = cachesweeper_core::Clock::now(&*world.clock).0;
    let store = |value: u64| {
        let page = sweeper.page();
        let settings = TagSettings { name: "a".into(), ttl: Some(60), vary: vec![] };
        let mut on = Vec::new();
        cachesweeper_core::Dependencies::collect_into(&Article(1, value), &mut on);
        let outcome = page.tag(on, settings, &mut || Ok("x".into())).unwrap().outcome();
        page.finish();
        outcome
    };
    assert_eq!(store(now - 1_000_000), Outcome::Unstorable);
    assert_eq!(store(now - 10_400_000), Outcome::Unstorable);
    assert_eq!(store(now - 10_600_000), Outcome::Miss, "10 s longest hold, 0.5 s skew");
    assert_eq!(store(now - 10_600_000), Outcome::Hit);
}

#[test]
fn a_second_tag_of_the_same_fragment_shows_the_same() {
    let world = World::new();
    let sweeper = world.warm();
    let rows = rows(1);
    whole_page(&sweeper, &rows);
    world.clock.advance(Duration::from_secs(12));
    let page = sweeper.page();
    page.prefetch(&rows, "c");
    assert_eq!((tag(&page, &rows[0], "one"), tag(&page, &rows[0], "two")), (Outcome::Miss, Outcome::Hit));
}

#[test]
fn two_copies_of_a_row_on_one_page_are_two_fragments() {
    let world = World::new();
    let sweeper = world.warm();
    let (old, new) = (Comment(1, "old"), Comment(1, "new"));
    whole_page(&sweeper, std::slice::from_ref(&old));
    world.clock.advance(Duration::from_secs(12));
    whole_page(&sweeper, std::slice::from_ref(&old));
    let page = sweeper.page();
    page.prefetch(std::slice::from_ref(&old), "c");
    assert_eq!(tag(&page, &old, "old"), Outcome::Hit);
    assert_eq!(tag(&page, &new, "new"), Outcome::Miss, "who holds the new copy is not shown the old one's fragment");
    assert_eq!(tag(&page, &old, "old"), Outcome::Hit);
    page.finish();
    assert_eq!(whole_page(&sweeper, std::slice::from_ref(&new)), [Outcome::Hit]);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_tag_that_was_not_prefetched_cannot_wait_for_a_remote_store() {
    let sweeper = cachesweeper_core::Sweeper::builder().memcached(["127.0.0.1:1"]).graph(support::graph()).build().unwrap();
    let page = sweeper.page();
    let settings = TagSettings { name: "comment.html".into(), ttl: None, vary: vec![] };
    let mut on = Vec::new();
    cachesweeper_core::Dependencies::collect_into(&RecordKey::new("comment", 42), &mut on);
    let error = page.tag(on, settings, &mut || Ok(String::new())).unwrap_err();
    assert!(matches!(error, TagError::NotPrefetched { .. }));
    let message = error.to_string();
    for part in ["comment:42", "comment.html", "prefetch", "spawn_blocking"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[cfg(feature = "minijinja")]
mod minijinja_tag {
    use cachesweeper_core::template::minijinja::{add_to, key, row, rows};
    use minijinja::{Environment, context};
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Shown(#[serde(serialize_with = "text")] Comment);

    fn text<S: serde::Serializer>(comment: &Comment, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", &comment.0)?;
        map.serialize_entry("text", comment.1)?;
        map.end()
    }

    impl CacheSweep for Shown {
        fn entity() -> &'static cachesweeper_core::registry::Entity {
            Comment::entity()
        }

        fn record_key(&self) -> RecordKey {
            self.0.record_key()
        }

        fn row_digest(&self) -> u128 {
            self.0.row_digest()
        }

        fn updated_at(&self) -> Option<cachesweeper_core::Micros> {
            None
        }
    }

    impl cachesweeper_core::Dependencies for Shown {
        fn collect_into(&self, out: &mut Vec<cachesweeper_core::Dependency>) {
            self.0.collect_into(out);
        }
    }

    const PAGE: &str = r#"{% for comment in comments %}{% call cachesweeper(comment, 500, "comment.html", lang) %}<p>{{ comment.text }}{{ seen() }}</p>{% endcall %}{% endfor %}"#;

    fn environment(seen: std::sync::Arc<std::sync::atomic::AtomicUsize>) -> Environment<'static> {
        let mut env = Environment::new();
        add_to(&mut env);
        env.add_function("seen", move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            ""
        });
        env.add_template("page.html", PAGE).unwrap();
        env
    }

    #[test]
    fn the_body_runs_on_a_miss_only_and_stays_escaped() {
        let world = World::new();
        let sweeper = world.warm();
        let seen = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let env = environment(seen.clone());
        let comments = [Shown(Comment(1, "a < b")), Shown(Comment(2, "\"c\""))];
        let show = |lang: &str| {
            let page = sweeper.page();
            page.prefetch_many(|prefetch| {
                prefetch.rows_varying(&comments, "comment.html", &[lang]);
            });
            let template = env.get_template("page.html").unwrap();
            let html = page.render(|| template.render(context! { comments => rows(&comments), lang => lang })).unwrap();
            page.finish();
            html
        };
        let count = || seen.swap(0, std::sync::atomic::Ordering::SeqCst);
        show("en");
        world.clock.advance(Duration::from_secs(12));
        count();
        let expected = "<p>a &lt; b</p><p>&quot;c&quot;</p>";
        assert_eq!((show("en").as_str(), count()), (expected, 2));
        assert_eq!((show("en").as_str(), count()), (expected, 0));
        assert_eq!((show("de").as_str(), count()), (expected, 2), "further arguments extend the key");
        sweeper.invalidate_records(&[comments[0].record_key()]);
        world.clock.advance(Duration::from_secs(1));
        assert_eq!((show("en").as_str(), count()), (expected, 1));
    }

    #[test]
    fn mistakes_in_a_template_are_explained() {
        let mut env = environment(std::sync::Arc::default());
        let mut problem = |source: &'static str, context: minijinja::Value| {
            env.add_template("t", source).unwrap();
            let error = env.get_template("t").unwrap().render(context).unwrap_err();
            format!("{error:#}")
        };
        let record = key(&RecordKey::new("comment", 1));
        let with = |value: minijinja::Value| context! { c => value };
        let call = "{% call cachesweeper(c, 500, \"n\") %}x{% endcall %}";
        assert!(problem(call, with(record.clone())).contains("page.render"));
        assert!(problem(call, with(minijinja::Value::from(3))).contains("row(&comment)"));
        assert!(problem("{{ cachesweeper(c, 500, \"n\") }}", with(record.clone())).contains("{% call"));
        assert!(problem("{% call cachesweeper(c, 0, \"n\") %}x{% endcall %}", with(record.clone())).contains("TTL"));
        assert!(problem("{% call cachesweeper(c) %}x{% endcall %}", with(record)).contains("TTL in seconds"));
        assert_eq!(row(&Shown(Comment(1, "x"))).get_attr("text").unwrap().as_str(), Some("x"));
    }

    #[test]
    fn an_error_in_the_body_is_the_templates_own() {
        let world = World::new();
        let sweeper = world.warm();
        let mut env = Environment::new();
        add_to(&mut env);
        env.add_template("t", "{% call cachesweeper(c, 500, \"n\") %}{{ 1 / 0 }}{% endcall %}").unwrap();
        let page = sweeper.page();
        let template = env.get_template("t").unwrap();
        let context = context! { c => key(&RecordKey::new("comment", 1)) };
        let error = page.render(|| template.render(context)).unwrap_err();
        assert!(format!("{error:#}").contains("t:1"), "{error:#}");
    }
}
