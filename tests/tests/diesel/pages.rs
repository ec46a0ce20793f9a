//! Fragments in blocking code: one, many, pages with a prefetch, and templates, over Diesel's rows.

use cachesweeper_diesel::prelude::*;
use cachesweeper_diesel::template::minijinja::{add_to, key, row, rows};
use cachesweeper_tests::Backend;
use cachesweeper_tests::orm::diesel::entity::Article;
use diesel::prelude::*;
use minijinja::{Environment, context};

use crate::bench::{Bench, each_database, raw_article, wait_until};

diesel::table! {
    piece (id) {
        id -> BigInt,
        article_id -> BigInt,
        text -> Text,
    }
}

/// A row that templates can show.
#[derive(Clone, Debug, PartialEq, Queryable, Selectable, Identifiable, Associations, Insertable, serde::Serialize, CacheSweep)]
#[diesel(table_name = piece, belongs_to(Article))]
struct Piece {
    id: i64,
    article_id: i64,
    text: String,
}

const PAGE: &str =
    r#"{% for piece in pieces %}{% call cachesweeper(piece, 500, "piece.html", "de") %}[{{ piece.text }}]{% endcall %}{% endfor %}"#;

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    add_to(&mut env);
    env.add_template("page.html", PAGE).expect("a template");
    env
}

/// Three pieces of one article.
fn make(bench: &Bench) -> String {
    let text = if bench.database.backend == Backend::MySql { "VARCHAR(100)" } else { "TEXT" };
    format!("CREATE TABLE piece (id BIGINT PRIMARY KEY, article_id BIGINT NOT NULL, text {text} NOT NULL)")
}

each_database! {
    fn many_fragments_render_those_that_are_missing(bench, conn) {
        bench.database.run(&make(bench));
        let a = raw_article(conn, "a");
        let sweeper = &bench.sweeper;
        let new: Vec<Piece> = (1..=4).map(|id| Piece { id, article_id: a, text: format!("p{id}") }).collect();
        assert_eq!(sweeper.insert_and_sweep(conn, piece::table, new.clone()), Ok(4));
        let list = |conn: &mut Conn, expected: &[i64]| {
            let pieces: Vec<Piece> = piece::table.order(piece::id).load(conn).expect("the pieces");
            let mut asked = Vec::new();
            let rendered = sweeper.fragments(&pieces, "piece.html").get_or_render(|missing: &[&Piece]| {
                asked = missing.iter().map(|piece| piece.id).collect();
                Ok::<_, std::convert::Infallible>(missing.iter().map(|piece| format!("[{}]", piece.text)).collect())
            });
            let html: Vec<String> = rendered.unwrap_or_else(|never| match never {}).into_iter().map(String::from).collect();
            assert_eq!(asked, expected);
            html.concat()
        };
        assert_eq!(list(conn, &[1, 2, 3, 4]), "[p1][p2][p3][p4]");
        assert_eq!(list(conn, &[]), "[p1][p2][p3][p4]");
        assert_eq!(sweeper.update_and_sweep(conn, piece::table.find(3), piece::text.eq("new")), Ok(1));
        assert_eq!(list(conn, &[3]), "[p1][p2][new][p4]");
        let done: QueryResult<usize> = sweeper.transaction(conn, |conn| {
            sweeper.delete_and_sweep(conn, piece::table.find(1))?;
            sweeper.insert_and_sweep(conn, piece::table, Piece { id: 5, article_id: a, text: "p5".into() })
        });
        assert_eq!((done, list(conn, &[5])), (Ok(1), "[p2][new][p4][p5]".to_owned()));
        // A render that fails stores nothing, and its error comes back.
        assert_eq!(sweeper.update_and_sweep(conn, piece::table.find(2), piece::text.eq("again")), Ok(1));
        let pieces: Vec<Piece> = piece::table.order(piece::id).load(conn).expect("the pieces");
        let failed = sweeper.fragments(&pieces, "piece.html").get_or_render(|_: &[&Piece]| Err::<Vec<String>, _>("no template"));
        assert_eq!(failed.expect_err("it fails"), "no template");
        assert_eq!(list(conn, &[2]), "[again][new][p4][p5]");
    }

    fn a_page_prefetches_and_stores_in_one_batch_each(bench, conn) {
        bench.database.run(&make(bench));
        let a = raw_article(conn, "a");
        let (sweeper, env) = (&bench.sweeper, environment());
        let new: Vec<Piece> = (1..=3).map(|id| Piece { id, article_id: a, text: format!("<{id}>") }).collect();
        assert_eq!(sweeper.insert_and_sweep(conn, piece::table, new), Ok(3));
        let show = |conn: &mut Conn| {
            let before = sweeper.stats();
            let page = sweeper.page();
            let pieces: Vec<Piece> = piece::table.order(piece::id).load(conn).expect("the pieces");
            page.prefetch_many(|wanted| {
                wanted.rows_varying(&pieces, "piece.html", &["de"]);
            });
            let html = page.render(|| env.get_template("page.html")?.render(context! { pieces => rows(&pieces) })).expect("rendered");
            page.finish();
            let after = sweeper.stats();
            (html, after.misses - before.misses, after.hits - before.hits, after.round_trips - before.round_trips)
        };
        // What the logs know of must lie before the page's opening, by more than the clocks may differ.
        wait_until("the page stores what it rendered", || {
            show(conn);
            show(conn).2 == 3
        });
        assert_eq!(show(conn), ("[&lt;1&gt;][&lt;2&gt;][&lt;3&gt;]".to_owned(), 0, 3, 1), "one lookup for all");
        assert_eq!(sweeper.update_and_sweep(conn, piece::table.find(2), piece::text.eq("two")), Ok(1));
        let (html, misses, hits, _) = show(conn);
        assert_eq!((html.as_str(), misses, hits), ("[&lt;1&gt;][two][&lt;3&gt;]", 1, 2));
        wait_until("the page stores what it rendered", || {
            show(conn);
            show(conn).2 == 3
        });
    }

    fn what_a_page_loaded_before_a_write_is_not_served_after_it(bench, conn) {
        bench.database.run(&make(bench));
        let a = raw_article(conn, "a");
        let (sweeper, env) = (&bench.sweeper, environment());
        let new = Piece { id: 1, article_id: a, text: "0".into() };
        assert_eq!(sweeper.insert_and_sweep(conn, piece::table, new), Ok(1));
        let other = &mut bench.connect::<Conn>();
        for round in 1..=10 {
            let page = sweeper.page();
            let pieces: Vec<Piece> = piece::table.load(conn).expect("the pieces");
            // Between the load and the end of the page another commits.
            if round % 2 == 0 {
                page.prefetch(&pieces, "piece.html");
            }
            let text = round.to_string();
            assert_eq!(sweeper.update_and_sweep(other, piece::table.find(1), piece::text.eq(&text)), Ok(1));
            let html = page.render(|| env.get_template("page.html")?.render(context! { pieces => rows(&pieces) })).expect("rendered");
            page.finish();
            assert_eq!(html, format!("[{}]", round - 1), "what was loaded is what is shown");

            let page = sweeper.page();
            let pieces: Vec<Piece> = piece::table.load(conn).expect("the pieces");
            let html = page.render(|| env.get_template("page.html")?.render(context! { pieces => rows(&pieces) })).expect("rendered");
            page.finish();
            assert_eq!(html, format!("[{round}]"));
        }
    }

    fn tags_take_rows_keys_and_collections(bench, conn) {
        let a = raw_article(conn, "a");
        let article: Article = cachesweeper_tests::orm::diesel::entity::schema::article::table.find(a).first(conn).expect("the article");
        bench.database.run(&make(bench));
        let one = Piece { id: 1, article_id: a, text: "one".into() };
        assert_eq!(bench.sweeper.insert_and_sweep(conn, piece::table, &one), Ok(1));
        let mut env = environment();
        env.add_template("both.html", r#"{% call cachesweeper([piece, all], none, "both.html") %}{{ piece.text }}{% endcall %}"#)
            .expect("a template");
        let show = || {
            let page = bench.sweeper.page();
            let html =
                page.render(|| env.get_template("both.html")?.render(context! { piece => row(&one), all => key(&Article::collection()) }));
            let hits = bench.sweeper.stats().hits;
            page.finish();
            (html.expect("rendered"), hits)
        };
        let stored = || {
            let before = bench.sweeper.stats().hits;
            show().1 > before
        };
        wait_until("the tag's fragment is stored", stored);
        assert_eq!(show().0, "one");
        bench.touches(conn, &[a], &[], |sweeper, conn| {
            let titles = cachesweeper_tests::orm::diesel::entity::schema::article::title.eq("t");
            assert_eq!(sweeper.update_and_sweep(conn, &article, titles), Ok(1));
        });
        assert!(!stored(), "a write to the collection was not noticed");
    }
}
