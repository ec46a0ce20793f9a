//! The pages: what is loaded when, and which fragments they are made of.

use blog_site::cache::Piece;
use blog_site::sitting::{Name, Sitting};
use blog_site::{Mode, Page, SiteError};
use cachesweeper_diesel::{CacheSweep, Sweeper};

use crate::blog::Blog;
use crate::database::counting;
use crate::entity::{Article, Comment};
use crate::fragments::{fragment, fragments};
use crate::load;

/// The page of an article.
pub(crate) fn article(blog: &Blog, id: i64, mode: Mode) -> Result<Page, SiteError> {
    let view = View::new(blog, mode);
    let (found, queries) = counting(|| {
        let article = blog.query(|conn| load::article(conn, id))?.ok_or_else(|| SiteError::no_article(id))?;
        let piece = view.article(&article)?;
        Ok::<_, SiteError>((article, piece))
    });
    let (article, piece) = found?;
    view.sitting.article_page(&article, piece, queries)
}

/// A front page; the first is 1.
pub(crate) fn front(blog: &Blog, number: u64, mode: Mode) -> Result<Page, SiteError> {
    let view = View::new(blog, mode);
    let (piece, queries) = counting(|| view.front(number));
    view.sitting.front_page(&Article::collection(), number, piece?, queries)
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
    fn article(&self, article: &Article) -> Result<Piece, SiteError> {
        let home = article.record_key();
        let piece = fragment(&self.sitting, article, Name::new(&home, "article.html"), || {
            let (votes, comments) =
                self.blog.query(|conn| Ok((load::votes_on_article(conn, article.id)?, load::comments(conn, article)?)))?;
            let pieces = self.comments(&comments)?;
            self.sitting.article(article, votes, &comments, &pieces)
        })?;
        if self.sitting.looks_inside(&piece) {
            self.comments(&self.blog.query(|conn| load::comments(conn, article))?)?;
        }
        Ok(piece)
    }

    /// The fragments of comments, all looked up in one round trip. Votes are counted only for those that are missing.
    fn comments(&self, comments: &[Comment]) -> Result<Vec<Piece>, SiteError> {
        fragments(&self.sitting, comments, "comment.html", |missing| {
            let ids: Vec<i64> = missing.iter().map(|comment| comment.id).collect();
            let votes = self.blog.query(|conn| load::votes_on_comments(conn, &ids))?;
            self.sitting.comments(missing, &votes)
        })
    }

    /// The fragment of a front page: it depends on the whole table, since any article may come to stand on it.
    fn front(&self, number: u64) -> Result<Piece, SiteError> {
        let articles = Article::collection();
        let name = Name { vary: Some(number), ..Name::new(&articles, "front.html") };
        let piece = fragment(&self.sitting, &articles, name, || {
            let (stories, more) = self.blog.query(|conn| load::front(conn, number))?;
            let pieces = self.stories(&stories)?;
            self.sitting.front(number, &stories, &pieces, more)
        })?;
        if self.sitting.looks_inside(&piece) {
            let (stories, _) = self.blog.query(|conn| load::front(conn, number))?;
            self.stories(&stories)?;
        }
        Ok(piece)
    }

    fn stories(&self, stories: &[Article]) -> Result<Vec<Piece>, SiteError> {
        fragments(&self.sitting, stories, "story.html", |missing| {
            let ids: Vec<i64> = missing.iter().map(|article| article.id).collect();
            let (votes, comments) =
                self.blog.query(|conn| Ok((load::votes_on_articles(conn, &ids)?, load::comments_on_articles(conn, &ids)?)))?;
            self.sitting.stories(missing, &votes, &comments)
        })
    }
}
