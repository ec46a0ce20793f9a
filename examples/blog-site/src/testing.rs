//! The site as a browser sees it: pages, forms and the overlay, on SQLite and the memory store. The same for every ORM:
//! [`site_tests!`](crate::site_tests) makes the tests of one.
#![expect(missing_docs, reason = "a test's name tells what it tests")]

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use chrono::Utc;
use tower::ServiceExt;

use crate::replay::{Counts, Shown, counts};
use crate::site::{Caching, Mode, Opening, Site, Write};
use crate::stories::Story;
use crate::{database, made_up, routes};

/// The tests of a site.
#[macro_export]
macro_rules! site_tests {
    ($site:ty) => {
        $crate::site_tests! { $site:
            votes_and_comments_are_shown_at_once,
            the_overlay_shows_which_fragments_a_vote_has_swept,
            the_overlay_changes_nothing_that_is_cached,
            a_hit_takes_one_query_or_none,
            what_is_not_there_is_said_so,
            the_statistics_are_json,
            the_statistics_tell_what_pages_took,
            without_a_cache_every_page_is_rendered_anew,
            articles_are_imported_once,
        }
    };
    ($site:ty: $($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            $crate::testing::$name::<$site>().await;
        }
    )*};
}

/// An empty site in memory.
pub async fn empty<S: Site>() -> S {
    with_cache(Caching::Sweeper).await
}

async fn with_cache<S: Site>(caching: Caching) -> S {
    let opening = Opening {
        database: "sqlite::memory:".parse().expect("a URL"),
        tasks: 4,
        memcached: Vec::new(),
        namespace: "test".to_owned(),
        plain_hold: None,
        strict: false,
        caching,
    };
    let url = opening.database.clone();
    let site = S::open(opening).await.expect("SQLite is built in");
    database::prepare(&site, &url, false).await.expect("the tables are made");
    site
}

/// One article with three comments, the third a reply to the first; and what answers requests.
pub async fn site<S: Site>() -> (Arc<S>, Router) {
    filled(empty().await).await
}

async fn filled<S: Site>(site: S) -> (Arc<S>, Router) {
    let story = Story { id: 7, title: "A <b>title</b>".to_owned(), ..made_up::stories(1, 1).remove(0) };
    site.add_articles(&[story]).await.expect("added");
    let comment = |parent, text: &str| Write::Comment { parent, author: "ann".to_owned(), text: text.to_owned() };
    let added = site.write(7, &[comment(None, "one"), comment(None, "two")], Utc::now()).await.expect("written");
    site.write(7, &[comment(Some(added.comments[0]), "three")], Utc::now()).await.expect("written");
    let site = Arc::new(site);
    (site.clone(), routes::router(site))
}

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).expect("a valid request");
    let response = router.clone().oneshot(request).await.expect("the router always answers");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a short body");
    (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
}

/// Sends a form from a page; returns the status and where the browser is sent.
async fn post(router: &Router, from: &str, path: &str, form: &str) -> (StatusCode, String) {
    let request = Request::post(path)
        .header(header::REFERER, format!("http://127.0.0.1:3000{from}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .expect("a valid request");
    let response = router.clone().oneshot(request).await.expect("the router always answers");
    let location = response.headers().get(header::LOCATION).map(|to| to.to_str().expect("ASCII").to_owned());
    (response.status(), location.unwrap_or_default())
}

async fn shown(router: &Router, path: &str) -> Counts {
    counts(&get(router, path).await.1).expect("every page shows its counts")
}

/// What the overlay says of each fragment, in the page's order.
async fn overlay(router: &Router, path: &str) -> Vec<(String, String)> {
    let (_, page) = get(router, path).await;
    let attribute = |tag: &str, name: &str| {
        let (_, value) = tag.split_once(&format!("{name}=\"")).expect("the attribute");
        value.split('"').next().unwrap_or_default().to_owned()
    };
    let tags = page.split("<div class=\"sweep ").skip(1);
    tags.map(|tag| (attribute(tag, "data-record"), attribute(tag, "data-sweep"))).collect()
}

fn expected(outcomes: &[(&str, &str)]) -> Vec<(String, String)> {
    outcomes.iter().map(|(record, outcome)| ((*record).to_owned(), (*outcome).to_owned())).collect()
}

pub async fn votes_and_comments_are_shown_at_once<S: Site>() {
    let (_, router) = site::<S>().await;
    let page = |votes, comments, comment_votes| Counts { articles: vec![Shown { article: 7, votes, comments }], comments, comment_votes };
    assert_eq!(shown(&router, "/articles/7").await, page(0, 3, 0));
    assert_eq!(post(&router, "/articles/7", "/articles/7/votes", "").await, (StatusCode::SEE_OTHER, "/articles/7#article-7".to_owned()));
    assert_eq!(shown(&router, "/articles/7").await, page(1, 3, 0));
    let voted = post(&router, "/articles/7", "/comments/2/votes", "").await;
    assert_eq!(voted, (StatusCode::SEE_OTHER, "/articles/7#comment-2".to_owned()));
    assert_eq!(shown(&router, "/articles/7").await, page(1, 3, 1));
    let form = "author=bo&text=%3Cscript%3E+%26+more&parent=3";
    let commented = post(&router, "/articles/7?sweep=show", "/articles/7/comments", form).await;
    assert_eq!(commented, (StatusCode::SEE_OTHER, "/articles/7?sweep=show#comment-4".to_owned()));
    assert_eq!(shown(&router, "/articles/7").await, page(1, 4, 1));
    assert_eq!(shown(&router, "/").await.articles, [Shown { article: 7, votes: 1, comments: 4 }]);
    let (_, html) = get(&router, "/articles/7").await;
    assert!(html.contains("&lt;script&gt; &amp; more") && !html.contains("<script") && !html.contains("<b>title"), "{html}");
}

pub async fn the_overlay_shows_which_fragments_a_vote_has_swept<S: Site>() {
    let (_, router) = site::<S>().await;
    let page = "/articles/7?sweep=show";
    let all = |article, first, second, third| {
        expected(&[("article:7", article), ("comment:1", first), ("comment:3", third), ("comment:2", second)])
    };
    assert_eq!(overlay(&router, page).await, all("miss", "miss", "miss", "miss"));
    assert_eq!(overlay(&router, page).await, all("hit", "hit", "hit", "hit"));
    let voted = post(&router, page, "/comments/3/votes", "").await;
    assert_eq!(voted, (StatusCode::SEE_OTHER, format!("{page}#comment-3")));
    assert_eq!(overlay(&router, page).await, all("miss", "hit", "hit", "miss"));
    assert_eq!(overlay(&router, page).await, all("hit", "hit", "hit", "hit"));
    post(&router, page, "/articles/7/votes", "").await;
    assert_eq!(overlay(&router, page).await, all("miss", "hit", "hit", "hit"));
    let front = |all| expected(&[("article:*", all), ("article:7", all)]);
    assert_eq!(overlay(&router, "/?sweep=show").await, front("miss"));
    assert_eq!(overlay(&router, "/?sweep=show").await, front("hit"));
}

pub async fn the_overlay_changes_nothing_that_is_cached<S: Site>() {
    let (_, router) = site::<S>().await;
    let (_, plain) = get(&router, "/articles/7").await;
    post(&router, "/articles/7", "/articles/7/votes", "").await;
    get(&router, "/articles/7?sweep=show").await;
    let (_, after) = get(&router, "/articles/7").await;
    assert!(!after.contains("class=\"sweep"), "{after}");
    let unvoted = after.replace("data-votes=\"1\"", "data-votes=\"0\"").replace("<b>1</b> point", "<b>0</b> points");
    assert_eq!(unvoted, plain);
}

pub async fn a_hit_takes_one_query_or_none<S: Site>() {
    let (site, _) = site::<S>().await;
    let article = async || site.article_page(7, Mode::Cached).await.expect("a page");
    let front = async || site.front_page(1, Mode::Cached).await.expect("a page");
    assert_eq!((article().await.queries, article().await.queries), (4, 1));
    assert_eq!((front().await.queries, front().await.queries), (3, 0));
}

pub async fn what_is_not_there_is_said_so<S: Site>() {
    let (_, router) = site::<S>().await;
    for path in ["/articles/8", "/articles/x", "/nowhere", "/?page=0", "/?page=x"] {
        let (status, page) = get(&router, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.contains("Not found"), "{path}: {page}");
    }
    let status = async |path, form| post(&router, "/", path, form).await.0;
    assert_eq!(status("/articles/8/votes", "").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/comments/99/votes", "").await, StatusCode::NOT_FOUND);
    assert_eq!(status("/articles/7/comments", "author=bo&text=+").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(status("/articles/7/comments", "author=bo&text=hi&parent=99").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(status("/articles/7", "").await, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&router, "/?page=2").await.0, StatusCode::OK);
}

pub async fn the_statistics_are_json<S: Site>() {
    let (_, router) = site::<S>().await;
    get(&router, "/articles/7").await;
    let (status, json) = get(&router, "/cachesweeper/stats.json").await;
    assert_eq!(status, StatusCode::OK);
    assert!(json.starts_with("{\"hits\":0,") && json.contains("\"misses\":4,") && json.contains("\"round_trips\":"), "{json}");
}

/// A counter of the statistics.
async fn counter(router: &Router, name: &str) -> u64 {
    let (_, json) = get(router, "/cachesweeper/stats.json").await;
    let counters: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    counters[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}"))
}

pub async fn the_statistics_tell_what_pages_took<S: Site>() {
    let (_, router) = site::<S>().await;
    let taken = async || [counter(&router, "pages").await, counter(&router, "page_hits").await, counter(&router, "page_queries").await];
    get(&router, "/articles/7").await;
    assert_eq!(taken().await, [1, 0, 4]);
    get(&router, "/articles/7").await;
    get(&router, "/articles/8").await;
    assert_eq!(taken().await, [2, 1, 5]);
}

pub async fn without_a_cache_every_page_is_rendered_anew<S: Site>() {
    let (_, router) = filled(with_cache::<S>(Caching::Off).await).await;
    let (_, page) = get(&router, "/articles/7").await;
    assert_eq!(get(&router, "/articles/7").await.1, page);
    assert_eq!(overlay(&router, "/articles/7?sweep=show").await, []);
    assert_eq!((counter(&router, "page_hits").await, counter(&router, "page_queries").await), (0, 12));
    assert_eq!((counter(&router, "misses").await, counter(&router, "fills").await), (0, 0));
    post(&router, "/articles/7", "/articles/7/votes", "").await;
    assert_eq!(shown(&router, "/articles/7").await.articles, [Shown { article: 7, votes: 1, comments: 3 }]);
}

pub async fn articles_are_imported_once<S: Site>() {
    let site: S = empty().await;
    assert!(site.is_empty().await.expect("it answers"));
    let stories = made_up::stories(40, 1);
    assert_eq!(site.add_articles(&stories[..30]).await.expect("added"), 30);
    assert_eq!(site.add_articles(&stories).await.expect("added"), 10);
    assert_eq!(site.add_articles(&stories).await.expect("added"), 0);
    assert!(!site.is_empty().await.expect("it answers"));
    let shown = |page: String| counts(&page).expect("every page shows its counts").articles.len();
    assert_eq!(shown(site.front_page(1, Mode::Cached).await.expect("a page").html), 30);
    assert_eq!(shown(site.front_page(2, Mode::Cached).await.expect("a page").html), 10);
}
