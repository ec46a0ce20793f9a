//! The addresses of the site, and what answers there.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Form, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cachesweeper_core::Stats;
use serde::{Deserialize, Serialize, Serializer};
use tokio::task::JoinError;

use crate::forms::{NewComment, way_back};
use crate::site::{Mode, Page, Site, SiteError, Write};
use crate::tally::Tally;
use crate::views::{Frame, STYLE, TemplateError};

/// All addresses.
pub(crate) fn router<S: Site>(site: Arc<S>) -> Router {
    Router::new()
        .route("/", get(front::<S>))
        .route("/articles/{id}", get(article::<S>))
        .route("/articles/{id}/comments", post(comment::<S>))
        .route("/articles/{id}/votes", post(vote_on_article::<S>))
        .route("/comments/{id}/votes", post(vote_on_comment::<S>))
        .route("/cachesweeper/stats.json", get(stats::<S>))
        .route("/style.css", get(style))
        .fallback(nowhere::<S>)
        .method_not_allowed_fallback(not_this_way::<S>)
        .layer(Extension(Arc::new(Tally::default())))
        .with_state(site)
}

/// A page that is none, for people.
struct Failure<S> {
    status: StatusCode,
    heading: &'static str,
    explanation: String,
    site: Arc<S>,
}

impl<S: Site> Failure<S> {
    fn new(site: &Arc<S>, error: SiteError) -> Self {
        let ours = error.downcast_ref::<TemplateError>().is_some() || error.downcast_ref::<JoinError>().is_some();
        match error {
            SiteError::NotFound(what) => Self::not_found(site, format!("There is no {what}.")),
            SiteError::Failed(error) if ours => {
                tracing::error!(%error, "a page could not be rendered");
                let explanation = "This page cannot be shown. It is not your fault.".to_owned();
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, heading: "Something broke", explanation, site: site.clone() }
            }
            SiteError::Failed(error) => {
                tracing::error!(%error, "the database did not answer a page");
                let explanation = "The database does not answer at the moment. Please try again.".to_owned();
                Self { status: StatusCode::SERVICE_UNAVAILABLE, heading: "Not now", explanation, site: site.clone() }
            }
        }
    }

    fn not_found(site: &Arc<S>, explanation: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, heading: "Not found", explanation, site: site.clone() }
    }

    fn refused(site: &Arc<S>, explanation: impl Into<String>) -> Self {
        let (status, heading) = (StatusCode::UNPROCESSABLE_ENTITY, "This did not work");
        Self { status, heading, explanation: explanation.into(), site: site.clone() }
    }
}

impl<S: Site> IntoResponse for Failure<S> {
    fn into_response(self) -> Response {
        let templates = self.site.templates();
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
    fn mode(&self) -> Mode {
        if self.sweep.as_deref() == Some("show") { Mode::Overlay } else { Mode::Cached }
    }

    fn page(&self) -> Option<u64> {
        self.page.as_deref().map_or(Some(1), |page| page.parse().ok()).filter(|page| (1..=1_000_000).contains(page))
    }
}

type Question = Result<Query<Asked>, QueryRejection>;
type Answer<T, S> = Result<T, Failure<S>>;

fn id<S: Site>(site: &Arc<S>, text: &str, what: &str) -> Answer<i64, S> {
    text.parse().map_err(|_| Failure::not_found(site, format!("There is no such {what}.")))
}

/// Pages are always fresh here, so browsers must not keep their own copies.
fn page(tally: &Tally, shown: Page) -> Response {
    tally.count(&shown);
    ([(CACHE_CONTROL, "no-cache"), (axum::http::header::REFERRER_POLICY, "same-origin")], Html(shown.html)).into_response()
}

async fn front<S: Site>(State(site): State<Arc<S>>, Extension(tally): Extension<Arc<Tally>>, asked: Question) -> Answer<Response, S> {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let number = asked.page().ok_or_else(|| Failure::not_found(&site, "There is no such page.".to_owned()))?;
    let shown = site.front_page(number, asked.mode()).await.map_err(|error| Failure::new(&site, error))?;
    Ok(page(&tally, shown))
}

async fn article<S: Site>(
    State(site): State<Arc<S>>,
    Extension(tally): Extension<Arc<Tally>>,
    Path(article): Path<String>,
    asked: Question,
) -> Answer<Response, S> {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    let article = id(&site, &article, "article")?;
    let shown = site.article_page(article, asked.mode()).await.map_err(|error| Failure::new(&site, error))?;
    Ok(page(&tally, shown))
}

async fn comment<S: Site>(
    State(site): State<Arc<S>>,
    Path(article): Path<String>,
    headers: HeaderMap,
    form: Result<Form<NewComment>, FormRejection>,
) -> Answer<Redirect, S> {
    let article = existing_article(&site, &article).await?;
    let Form(new) = form.map_err(|error| Failure::refused(&site, error.body_text()))?;
    let new = new.check().map_err(|error| Failure::refused(&site, error))?;
    if let Some(parent) = new.parent
        && article_of(&site, parent).await? != Some(article)
    {
        return Err(Failure::refused(&site, "The comment that you reply to is not here."));
    }
    let new = Write::Comment { parent: new.parent, author: new.author, text: new.text };
    let added = save(&site, article, new).await?;
    let anchor = added.map_or_else(|| format!("article-{article}"), |id| format!("comment-{id}"));
    Ok(Redirect::to(&way_back(&headers, article, &anchor)))
}

async fn vote_on_article<S: Site>(State(site): State<Arc<S>>, Path(article): Path<String>, headers: HeaderMap) -> Answer<Redirect, S> {
    let article = existing_article(&site, &article).await?;
    save(&site, article, Write::VoteOnArticle { voter: "visitor".to_owned() }).await?;
    Ok(Redirect::to(&way_back(&headers, article, &format!("article-{article}"))))
}

async fn vote_on_comment<S: Site>(State(site): State<Arc<S>>, Path(comment): Path<String>, headers: HeaderMap) -> Answer<Redirect, S> {
    let comment = id(&site, &comment, "comment")?;
    let article = article_of(&site, comment).await?;
    let article = article.ok_or_else(|| Failure::not_found(&site, format!("There is no comment {comment}.")))?;
    save(&site, article, Write::VoteOnComment { comment, voter: "visitor".to_owned() }).await?;
    Ok(Redirect::to(&way_back(&headers, article, &format!("comment-{comment}"))))
}

async fn existing_article<S: Site>(site: &Arc<S>, text: &str) -> Answer<i64, S> {
    let id = id(site, text, "article")?;
    match site.has_article(id).await {
        Ok(true) => Ok(id),
        Ok(false) => Err(Failure::new(site, SiteError::no_article(id))),
        Err(error) => Err(Failure::new(site, error)),
    }
}

async fn article_of<S: Site>(site: &Arc<S>, comment: i64) -> Answer<Option<i64>, S> {
    site.article_of(comment).await.map_err(|error| Failure::new(site, error))
}

/// Saves one thing; returns the comment's id, if it is one.
async fn save<S: Site>(site: &Arc<S>, article: i64, new: Write) -> Answer<Option<i64>, S> {
    let added = site.write(article, &[new], chrono::Utc::now()).await;
    Ok(added.map_err(|error| Failure::new(site, error))?.comments.first().copied())
}

/// All of the sweeper's statistics, in their own order, and what pages took.
async fn stats<S: Site>(State(site): State<Arc<S>>, Extension(tally): Extension<Arc<Tally>>) -> Response {
    struct Counters(Stats, Arc<Tally>);
    impl Serialize for Counters {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().chain(self.1.iter()))
        }
    }
    ([(CACHE_CONTROL, "no-store")], Json(Counters(site.stats(), tally))).into_response()
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "no-cache")], STYLE).into_response()
}

async fn nowhere<S: Site>(State(site): State<Arc<S>>) -> Failure<S> {
    Failure::not_found(&site, "There is no such page.".to_owned())
}

async fn not_this_way<S: Site>(State(site): State<Arc<S>>) -> Failure<S> {
    let explanation = "This address does something else: use the form that leads here.".to_owned();
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, heading: "Not this way", explanation, site }
}
