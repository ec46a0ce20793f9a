//! The addresses of the site, and what answers there.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use blog_site::views::{Frame, STYLE};
use blog_site::{Mode, Write};
use cachesweeper_seaorm::Stats;
use serde::{Deserialize, Serialize, Serializer};

use crate::blog::Blog;
use crate::cache::Cache;
use crate::forms::{NewComment, way_back};
use crate::pages::{self, Look, PageError};
use crate::{load, write};

type Site = State<Arc<Blog>>;

/// All addresses.
pub(crate) fn router(blog: Arc<Blog>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/articles/{id}", get(article))
        .route("/articles/{id}/comments", post(comment))
        .route("/articles/{id}/votes", post(vote_on_article))
        .route("/comments/{id}/votes", post(vote_on_comment))
        .route("/cachesweeper/stats.json", get(stats))
        .route("/style.css", get(style))
        .fallback(nowhere)
        .method_not_allowed_fallback(not_this_way)
        .with_state(blog)
}

/// A page that is none, for people.
struct Failure {
    status: StatusCode,
    heading: &'static str,
    explanation: String,
    blog: Arc<Blog>,
}

impl Failure {
    fn new(blog: &Arc<Blog>, error: PageError) -> Self {
        match error {
            PageError::NotFound(what) => Self::not_found(blog, format!("There is no {what}.")),
            PageError::Database(error) => {
                tracing::error!(%error, "the database did not answer a page");
                let explanation = "The database does not answer at the moment. Please try again.".to_owned();
                Self { status: StatusCode::SERVICE_UNAVAILABLE, heading: "Not now", explanation, blog: blog.clone() }
            }
            PageError::Template(error) => {
                tracing::error!(%error, "a template could not be rendered");
                let explanation = "This page cannot be shown. It is not your fault.".to_owned();
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, heading: "Something broke", explanation, blog: blog.clone() }
            }
        }
    }

    fn not_found(blog: &Arc<Blog>, explanation: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, heading: "Not found", explanation, blog: blog.clone() }
    }

    fn refused(blog: &Arc<Blog>, explanation: impl Into<String>) -> Self {
        let (status, heading) = (StatusCode::UNPROCESSABLE_ENTITY, "This did not work");
        Self { status, heading, explanation: explanation.into(), blog: blog.clone() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let templates = &self.blog.templates;
        let frame = Frame { title: self.heading.to_owned(), path: "/".to_owned(), overlay: None };
        let page = templates.error(self.heading, &self.explanation).and_then(|body| templates.page(&frame, &body));
        match page {
            Ok(page) => (self.status, Html(page)).into_response(),
            Err(_) => (self.status, self.heading).into_response(),
        }
    }
}

/// The part of an address after the question mark. Read by hand, so that no nonsense in it is an error of its own.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    page: Option<String>,
    sweep: Option<String>,
}

impl Asked {
    fn look(&self) -> Look {
        if self.sweep.as_deref() == Some("show") { Look::Overlay } else { Look::Plain(Mode::Cached) }
    }

    fn page(&self) -> Option<u64> {
        self.page.as_deref().map_or(Some(1), |page| page.parse().ok()).filter(|page| (1..=1_000_000).contains(page))
    }
}

fn id(blog: &Arc<Blog>, text: &str, what: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| Failure::not_found(blog, format!("There is no such {what}.")))
}

/// Pages are always fresh here, so browsers must not keep their own copies.
fn page(html: String) -> Response {
    ([(CACHE_CONTROL, "no-cache"), (axum::http::header::REFERRER_POLICY, "same-origin")], Html(html)).into_response()
}

async fn front(State(blog): Site, asked: Result<Query<Asked>, QueryRejection>) -> Result<Response, Failure> {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let number = asked.page().ok_or_else(|| Failure::not_found(&blog, "There is no such page.".to_owned()))?;
    let shown = pages::front(&blog, number, asked.look()).await.map_err(|error| Failure::new(&blog, error))?;
    Ok(page(shown.html))
}

async fn article(State(blog): Site, Path(article): Path<String>, asked: Result<Query<Asked>, QueryRejection>) -> Result<Response, Failure> {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let article = id(&blog, &article, "article")?;
    let shown = pages::article(&blog, article, asked.look()).await.map_err(|error| Failure::new(&blog, error))?;
    Ok(page(shown.html))
}

async fn comment(
    State(blog): Site,
    Path(article): Path<String>,
    headers: HeaderMap,
    form: Result<Form<NewComment>, FormRejection>,
) -> Result<Redirect, Failure> {
    let article = existing_article(&blog, &article).await?;
    let Form(new) = form.map_err(|error| Failure::refused(&blog, error.body_text()))?;
    let new = new.check().map_err(|error| Failure::refused(&blog, error))?;
    if let Some(parent) = new.parent {
        let parent = load::comment(&blog.db, parent).await.map_err(|error| Failure::new(&blog, error.into()))?;
        if parent.is_none_or(|parent| parent.article_id != article) {
            return Err(Failure::refused(&blog, "The comment that you reply to is not here."));
        }
    }
    let new = Write::Comment { parent: new.parent, author: new.author, text: new.text };
    let added = save(&blog, article, new).await?;
    let anchor = added.map_or_else(|| format!("article-{article}"), |id| format!("comment-{id}"));
    Ok(Redirect::to(&way_back(&headers, article, &anchor)))
}

async fn vote_on_article(State(blog): Site, Path(article): Path<String>, headers: HeaderMap) -> Result<Redirect, Failure> {
    let article = existing_article(&blog, &article).await?;
    save(&blog, article, Write::VoteOnArticle { voter: "visitor".to_owned() }).await?;
    Ok(Redirect::to(&way_back(&headers, article, &format!("article-{article}"))))
}

async fn vote_on_comment(State(blog): Site, Path(comment): Path<String>, headers: HeaderMap) -> Result<Redirect, Failure> {
    let id = id(&blog, &comment, "comment")?;
    let found = load::comment(&blog.db, id).await.map_err(|error| Failure::new(&blog, error.into()))?;
    let found = found.ok_or_else(|| Failure::not_found(&blog, format!("There is no comment {id}.")))?;
    save(&blog, found.article_id, Write::VoteOnComment { comment: id, voter: "visitor".to_owned() }).await?;
    Ok(Redirect::to(&way_back(&headers, found.article_id, &format!("comment-{id}"))))
}

async fn existing_article(blog: &Arc<Blog>, text: &str) -> Result<i64, Failure> {
    let id = id(blog, text, "article")?;
    let found = load::article(&blog.db, id).await.map_err(|error| Failure::new(blog, error.into()))?;
    found.map(|article| article.id).ok_or_else(|| Failure::not_found(blog, format!("There is no article {id}.")))
}

/// Saves one thing; returns the comment's id, if it is one.
async fn save(blog: &Arc<Blog>, article: i64, new: Write) -> Result<Option<i64>, Failure> {
    let added = write::write(blog, article, &[new], chrono::Utc::now()).await;
    Ok(added.map_err(|error| Failure::new(blog, error.into()))?.comments.first().copied())
}

/// All of the sweeper's statistics, in their own order.
async fn stats(State(blog): Site) -> Response {
    struct Counters(Stats);
    impl Serialize for Counters {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter())
        }
    }
    let stats = match &blog.cache {
        Cache::Sweeper(sweeper) => sweeper.stats(),
        Cache::Naive(_) | Cache::Off => Stats::default(),
    };
    ([(CACHE_CONTROL, "no-store")], Json(Counters(stats))).into_response()
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")], STYLE).into_response()
}

async fn nowhere(State(blog): Site) -> Failure {
    Failure::not_found(&blog, "There is no such page.".to_owned())
}

async fn not_this_way(State(blog): Site) -> Failure {
    let explanation = "This address does something else: use the form that leads here.".to_owned();
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, heading: "Not this way", explanation, blog }
}
