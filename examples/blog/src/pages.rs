//! The pages: what is loaded when, and which fragments they are made of.
//!
//! Fragments are nested. An article's page is one fragment, which holds one for each comment; a front page is one that depends
//! on all articles, and holds one for each story. Whatever a fragment shows beside the row in hand is loaded inside its closure:
//! its version is read before, so that what is stored can never be older than its version.

use std::time::Instant;

use blog_site::overlay::{Trace, delimited};
use blog_site::views::{self, CommentView, Frame, StoryView, TemplateError};
use blog_site::{Mode, Page, STORIES_PER_PAGE, Served};
use cachesweeper_seaorm::{CacheSweep, RecordKey};
use sea_orm::DbErr;

use crate::blog::Blog;
use crate::cache::{Cache, Name, Piece};
use crate::database::counting;
use crate::entity::{article, comment};
use crate::load;

/// A page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// There is no such page.
    #[error("there is no {0}")]
    NotFound(String),
    /// The database does not answer.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As visitors see it.
    Plain(Mode),
    /// With an outline around each fragment.
    Overlay,
}

/// One page under way.
struct View<'a> {
    blog: &'a Blog,
    cache: &'a Cache,
    trace: Option<&'a Trace>,
}

impl View<'_> {
    fn name<'n>(&'n self, name: &'n str) -> Name<'n> {
        Name { name, vary: None, trace: self.trace }
    }

    /// The fragment of an article with all its comments.
    async fn article(&self, article: &article::Model) -> Result<Piece, PageError> {
        let piece = self
            .cache
            .fragment(article, &article.record_key(), self.name("article.html"), async || {
                let votes = load::votes_on_article(&self.blog.db, article.id).await?;
                let comments = load::comments(&self.blog.db, article.id).await?;
                let pieces = self.comments(&comments).await?;
                let keys: Vec<_> = comments.iter().map(CacheSweep::record_key).collect();
                let ids: Vec<_> = comments.iter().map(|comment| (comment.id, comment.parent_id)).collect();
                let node = |(at, depth): (usize, usize)| (depth, views::Piece { record: &keys[at], html: &pieces[at].html });
                let thread: Vec<_> = views::thread(&ids).into_iter().map(node).collect();
                let count = i64::try_from(comments.len()).unwrap_or(i64::MAX);
                Ok::<_, PageError>(self.blog.templates.article(&story(article, votes, count), &thread)?)
            })
            .await?;
        // A hit looks up nothing inside of it. The overlay wants to know all the same.
        if self.trace.is_some() && piece.served == Served::Hit {
            let comments = load::comments(&self.blog.db, article.id).await?;
            self.comments(&comments).await?;
        }
        Ok(piece)
    }

    /// The fragments of comments, all looked up in one round trip. Votes are counted only for those that are missing.
    async fn comments(&self, comments: &[comment::Model]) -> Result<Vec<Piece>, PageError> {
        self.cache
            .fragments(comments, self.name("comment.html"), async |missing: &[&comment::Model]| {
                let ids: Vec<i64> = missing.iter().map(|comment| comment.id).collect();
                let votes = load::votes_on_comments(&self.blog.db, &ids).await?;
                let render = |comment: &&comment::Model| {
                    let view = CommentView {
                        id: comment.id,
                        article: comment.article_id,
                        author: &comment.author,
                        text: &comment.text,
                        created_at: comment.created_at,
                        votes: votes.get(&comment.id).copied().unwrap_or_default(),
                    };
                    Ok(self.blog.templates.comment(&view)?)
                };
                missing.iter().map(render).collect()
            })
            .await
    }

    /// The fragment of a front page: it depends on the whole table, since any article may come to stand on it.
    async fn front(&self, number: u64) -> Result<Piece, PageError> {
        let per_page = STORIES_PER_PAGE as u64;
        let articles = article::Model::collection();
        let name = Name { vary: Some(number), ..self.name("front.html") };
        let piece = self
            .cache
            .fragment(&articles, &articles, name, async || {
                let (stories, more) = load::front(&self.blog.db, number, per_page).await?;
                let pieces = self.stories(&stories).await?;
                let keys: Vec<_> = stories.iter().map(CacheSweep::record_key).collect();
                let rows = keys.iter().zip(&pieces).map(|(record, piece)| views::Piece { record, html: &piece.html });
                let first = number.saturating_sub(1).saturating_mul(per_page).saturating_add(1);
                Ok::<_, PageError>(self.blog.templates.front(number, first, &rows.collect::<Vec<_>>(), more)?)
            })
            .await?;
        if self.trace.is_some() && piece.served == Served::Hit {
            let (stories, _) = load::front(&self.blog.db, number, per_page).await?;
            self.stories(&stories).await?;
        }
        Ok(piece)
    }

    async fn stories(&self, stories: &[article::Model]) -> Result<Vec<Piece>, PageError> {
        self.cache
            .fragments(stories, self.name("story.html"), async |missing: &[&article::Model]| {
                let ids: Vec<i64> = missing.iter().map(|article| article.id).collect();
                let votes = load::votes_on_articles(&self.blog.db, &ids).await?;
                let comments = load::comments_on_articles(&self.blog.db, &ids).await?;
                let count = |counts: &std::collections::HashMap<i64, i64>, id| counts.get(&id).copied().unwrap_or_default();
                let render = |article: &&article::Model| {
                    let view = story(article, count(&votes, article.id), count(&comments, article.id));
                    Ok(self.blog.templates.story(&view)?)
                };
                missing.iter().map(render).collect()
            })
            .await
    }
}

fn story(article: &article::Model, votes: i64, comments: i64) -> StoryView<'_> {
    let article::Model { id, title, url, author, created_at, .. } = article;
    StoryView { id: *id, title, url: url.as_deref(), author, created_at: *created_at, votes, comments }
}

/// The page of an article.
pub(crate) async fn article(blog: &Blog, id: i64, look: Look) -> Result<Page, PageError> {
    let sitting = Sitting::new(blog, look);
    let loading = async {
        let found = load::article(&blog.db, id).await?;
        let article = found.ok_or_else(|| PageError::NotFound(format!("article {id}")))?;
        let piece = sitting.view().article(&article).await?;
        Ok::<_, PageError>((article, piece))
    };
    let (found, queries) = counting(loading).await;
    let (article, piece) = found?;
    sitting.page(&article.record_key(), &piece, queries, &article.title, format!("/articles/{id}"))
}

/// A front page; the first is 1.
pub(crate) async fn front(blog: &Blog, number: u64, look: Look) -> Result<Page, PageError> {
    let sitting = Sitting::new(blog, look);
    let (piece, queries) = counting(async { sitting.view().front(number).await }).await;
    let path = if number == 1 { "/".to_owned() } else { format!("/?page={number}") };
    sitting.page(&article::Model::collection(), &piece?, queries, "Stories", path)
}

/// One page from its request to its document.
struct Sitting<'a> {
    blog: &'a Blog,
    cache: &'a Cache,
    trace: Option<Trace>,
    began: Instant,
}

impl<'a> Sitting<'a> {
    fn new(blog: &'a Blog, look: Look) -> Self {
        let cache = if look == Look::Plain(Mode::Uncached) { &Cache::Off } else { &blog.cache };
        Self { blog, cache, trace: (look == Look::Overlay).then(Trace::default), began: Instant::now() }
    }

    fn view(&self) -> View<'_> {
        View { blog: self.blog, cache: self.cache, trace: self.trace.as_ref() }
    }

    /// The document around its outermost fragment, with outlines if they are wanted.
    fn page(&self, home: &RecordKey, piece: &Piece, queries: u64, title: &str, path: String) -> Result<Page, PageError> {
        let mut frame = Frame { title: title.to_owned(), path, overlay: None };
        let html = match &self.trace {
            Some(trace) => {
                frame.overlay = Some(trace.summary(self.began.elapsed(), queries));
                self.blog.templates.page(&frame, &trace.outline(&delimited(home, &piece.html)))?
            }
            None => self.blog.templates.page(&frame, &piece.html)?,
        };
        Ok(Page { html, served: piece.served, queries })
    }
}
