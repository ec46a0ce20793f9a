//! The pages: what is loaded when, and which fragments they are made of.

use blog_site::cache::Piece;
use blog_site::sitting::{Name, Sitting};
use blog_site::{Mode, Page, SiteError};
use cachesweeper_seaorm::{CacheSweep, Sweeper};

use crate::blog::Blog;
use crate::database::counting;
use crate::entity::{article, comment};
use crate::fragments::{fragment, fragments};
use crate::load;

/// The page of an article.
pub(crate) async fn article(blog: &Blog, id: i64, mode: Mode) -> Result<Page, SiteError> {
    let view = View::new(blog, mode);
    let loading = async {
        let article = load::article(&blog.db, id).await?.ok_or_else(|| SiteError::no_article(id))?;
        let piece = view.article(&article).await?;
        Ok::<_, SiteError>((article, piece))
    };
    let (found, queries) = counting(loading).await;
    let (article, piece) = found?;
    view.sitting.article_page(&article, piece, queries)
}

/// A front page; the first is 1.
pub(crate) async fn front(blog: &Blog, number: u64, mode: Mode) -> Result<Page, SiteError> {
    let view = View::new(blog, mode);
    let (piece, queries) = counting(async { view.front(number).await }).await;
    view.sitting.front_page(&article::Model::collection(), number, piece?, queries)
}

/// One page under way.
struct View<'a> {
    blog: &'a Blog,
    sitting: Sitting<'a, Sweeper>,
}

impl<'a> View<'a> {
    fn new(blog: &'a Blog, mode: Mode) -> Self {
        Self { blog, sitting: Sitting::new(&blog.templates, &blog.cache, mode) }
    }

    /// The fragment of an article with all its comments.
    async fn article(&self, article: &article::Model) -> Result<Piece, SiteError> {
        let (db, home) = (&self.blog.db, article.record_key());
        let piece = fragment(&self.sitting, article, Name::new(&home, "article.html"), async || {
            let votes = load::votes_on_article(db, article.id).await?;
            let comments = load::comments(db, article.id).await?;
            let pieces = self.comments(&comments).await?;
            self.sitting.article(article, votes, &comments, &pieces)
        })
        .await?;
        if self.sitting.looks_inside(&piece) {
            self.comments(&load::comments(db, article.id).await?).await?;
        }
        Ok(piece)
    }

    /// The fragments of comments, all looked up in one round trip. Votes are counted only for those that are missing.
    async fn comments(&self, comments: &[comment::Model]) -> Result<Vec<Piece>, SiteError> {
        fragments(&self.sitting, comments, "comment.html", async |missing: &[&comment::Model]| {
            let ids: Vec<i64> = missing.iter().map(|comment| comment.id).collect();
            let votes = load::votes_on_comments(&self.blog.db, &ids).await?;
            self.sitting.comments(missing, &votes)
        })
        .await
    }

    /// The fragment of a front page: it depends on the whole table, since any article may come to stand on it.
    async fn front(&self, number: u64) -> Result<Piece, SiteError> {
        let (db, articles) = (&self.blog.db, article::Model::collection());
        let name = Name { vary: Some(number), ..Name::new(&articles, "front.html") };
        let piece = fragment(&self.sitting, &articles, name, async || {
            let (stories, more) = load::front(db, number).await?;
            let pieces = self.stories(&stories).await?;
            self.sitting.front(number, &stories, &pieces, more)
        })
        .await?;
        if self.sitting.looks_inside(&piece) {
            let (stories, _) = load::front(db, number).await?;
            self.stories(&stories).await?;
        }
        Ok(piece)
    }

    async fn stories(&self, stories: &[article::Model]) -> Result<Vec<Piece>, SiteError> {
        fragments(&self.sitting, stories, "story.html", async |missing: &[&article::Model]| {
            let ids: Vec<i64> = missing.iter().map(|article| article.id).collect();
            let votes = load::votes_on_articles(&self.blog.db, &ids).await?;
            let comments = load::comments_on_articles(&self.blog.db, &ids).await?;
            self.sitting.stories(missing, &votes, &comments)
        })
        .await
    }
}
