//! The templates, and what they show.

use std::collections::HashMap;

use cachesweeper_core::{CacheSweep, RecordKey};
use chrono::{DateTime, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};
use serde::Serialize;

use crate::overlay;

/// A template is wrong.
pub use minijinja::Error as TemplateError;

/// The style sheet, served as `/style.css`.
pub const STYLE: &str = include_str!("../templates/style.css");

/// How deep replies are indented at most.
const DEEPEST: usize = 5;

/// A story, on the front page or above its comments.
#[derive(Clone, Debug)]
pub struct StoryView<'a> {
    /// The article's id.
    pub id: i64,
    /// Its title.
    pub title: &'a str,
    /// What it links to.
    pub url: Option<&'a str>,
    /// Who submitted it.
    pub author: &'a str,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// Votes on the article itself.
    pub votes: i64,
    /// Comments on it.
    pub comments: i64,
}

/// One comment.
#[derive(Clone, Debug)]
pub struct CommentView<'a> {
    /// The comment's id.
    pub id: i64,
    /// The article's id.
    pub article: i64,
    /// Who wrote it.
    pub author: &'a str,
    /// What it says.
    pub text: &'a str,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// Votes on it.
    pub votes: i64,
}

/// A row of the table of articles.
pub trait ArticleRow: CacheSweep {
    /// Its key.
    fn id(&self) -> i64;

    /// What is shown of it.
    fn view(&self, votes: i64, comments: i64) -> StoryView<'_>;
}

/// A row of the table of comments.
pub trait CommentRow: CacheSweep {
    /// Its key.
    fn id(&self) -> i64;

    /// The comment that it replies to.
    fn parent(&self) -> Option<i64>;

    /// What is shown of it.
    fn view(&self, votes: i64) -> CommentView<'_>;
}

/// A fragment to be put into another one.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The record that it is a fragment of.
    pub record: &'a RecordKey,
    /// Its HTML.
    pub html: &'a str,
}

/// What is around a page's outermost fragment.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The page's title.
    pub title: String,
    /// This page's address, without the overlay.
    pub path: String,
    /// The overlay's summary, if it is shown.
    pub overlay: Option<String>,
}

/// All templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../templates/", $name)))),*]
    };
}

#[derive(Serialize)]
struct StoryContext<'a> {
    id: i64,
    title: &'a str,
    url: Option<&'a str>,
    host: &'a str,
    author: &'a str,
    created: String,
    created_iso: String,
    votes: i64,
    comments: i64,
    thread: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    depth: usize,
    piece: Value,
}

#[derive(Serialize)]
struct Row {
    rank: u64,
    piece: Value,
}

impl Templates {
    /// Compiles them.
    ///
    /// # Errors
    ///
    /// If one does not compile, which a test would have found.
    pub fn new() -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).build()?);
        for (name, source) in templates!["layout.html", "front.html", "story.html", "article.html", "comment.html", "error.html"] {
            environment.add_template(name, source)?;
        }
        Ok(Self { environment })
    }

    fn render(&self, name: &str, context: impl Serialize) -> Result<String, Error> {
        self.environment.get_template(name)?.render(Serde(context))
    }

    /// A whole document around `body`, which is HTML.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn page(&self, frame: &Frame, body: &str) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Overlay<'a> {
            summary: &'a str,
        }
        #[derive(Serialize)]
        struct Context<'a> {
            title: &'a str,
            home: &'a str,
            switch: String,
            overlay: Option<Overlay<'a>>,
            body: &'a str,
        }
        let shown = frame.overlay.is_some();
        let switch = if shown { frame.path.clone() } else { overlay::shown_at(&frame.path) };
        // The body is put in afterwards: it is the largest part, and needs no copy of its own in the template engine.
        const BODY: &str = "\u{1}";
        let context = Context {
            title: &frame.title,
            home: if shown { "/?sweep=show" } else { "/" },
            switch,
            overlay: frame.overlay.as_deref().map(|summary| Overlay { summary }),
            body: BODY,
        };
        let around = self.render("layout.html", context)?;
        // From the back: only the title, which comes before it, is not ours.
        let (before, after) = around.rsplit_once(BODY).unwrap_or((&around, ""));
        let mut page = String::with_capacity(before.len() + body.len() + after.len());
        page.push_str(before);
        page.push_str(body);
        page.push_str(after);
        Ok(page)
    }

    /// The fragment of a whole article.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn article(&self, story: &StoryView<'_>, thread: &[(usize, Piece<'_>)]) -> Result<String, Error> {
        let node = |(depth, piece): &(usize, Piece<'_>)| Node { depth: (*depth).min(DEEPEST), piece: safe(piece) };
        self.render("article.html", story.context(thread.iter().map(node).collect()))
    }

    /// The fragment of a story on the front page.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn story(&self, story: &StoryView<'_>) -> Result<String, Error> {
        self.render("story.html", story.context(Vec::new()))
    }

    /// The fragment of a comment.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn comment(&self, comment: &CommentView<'_>) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Context<'a> {
            id: i64,
            article: i64,
            author: &'a str,
            text: &'a str,
            created: String,
            created_iso: String,
            votes: i64,
        }
        let CommentView { id, article, author, text, created_at, votes } = *comment;
        let (created, created_iso) = times(created_at);
        self.render("comment.html", Context { id, article, author, text, created, created_iso, votes })
    }

    /// The fragment of a front page; `first` is the first story's rank.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn front(&self, number: u64, first: u64, stories: &[Piece<'_>], more: bool) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Context {
            number: u64,
            more: bool,
            stories: Vec<Row>,
        }
        let stories = (first..).zip(stories).map(|(rank, piece)| Row { rank, piece: safe(piece) }).collect();
        self.render("front.html", Context { number, more, stories })
    }

    /// What a visitor sees when there is no page.
    ///
    /// # Errors
    ///
    /// Those of the template engine.
    pub fn error(&self, heading: &str, explanation: &str) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Context<'a> {
            heading: &'a str,
            explanation: &'a str,
        }
        self.render("error.html", Context { heading, explanation })
    }
}

impl<'a> StoryView<'a> {
    fn context(&self, thread: Vec<Node>) -> StoryContext<'a> {
        let Self { id, title, url, author, created_at, votes, comments } = *self;
        // Other schemes (`javascript:`) would run on this site.
        let url = url.filter(|url| url.starts_with("http://") || url.starts_with("https://"));
        let (created, created_iso) = times(created_at);
        StoryContext { id, title, url, host: url.map_or("", host), author, created, created_iso, votes, comments, thread }
    }
}

/// The same for every visitor and at any time: "3 hours ago" would go stale on its own.
fn times(at: DateTime<Utc>) -> (String, String) {
    (at.format("%Y-%m-%d %H:%M").to_string(), at.format("%Y-%m-%dT%H:%MZ").to_string())
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.strip_prefix("www.").unwrap_or(host)
}

fn safe(piece: &Piece<'_>) -> Value {
    Value::from_safe_string(overlay::delimited(piece.record, piece.html))
}

/// Comments in reading order, each with its depth: replies follow what they reply to. `comments` are ids and parents' ids, in
/// the order in which siblings are shown; returns positions in it.
///
/// A comment whose parent is not there is shown at the top, so that none is lost.
pub fn thread(comments: &[(i64, Option<i64>)]) -> Vec<(usize, usize)> {
    let positions: HashMap<i64, usize> = comments.iter().enumerate().map(|(position, (id, _))| (*id, position)).collect();
    let mut replies: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (position, (_, parent)) in comments.iter().enumerate() {
        // A parent is always older, so there are no circles.
        let parent = parent.and_then(|parent| positions.get(&parent).copied()).filter(|parent| *parent < position);
        replies.entry(parent).or_default().push(position);
    }
    let mut ordered = Vec::with_capacity(comments.len());
    let mut open: Vec<(usize, usize)> = Vec::new();
    let push = |open: &mut Vec<(usize, usize)>, of: Option<usize>, depth| {
        open.extend(replies.get(&of).into_iter().flatten().rev().map(|&position| (position, depth)));
    };
    push(&mut open, None, 0);
    while let Some((position, depth)) = open.pop() {
        ordered.push((position, depth));
        push(&mut open, Some(position), depth + 1);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_in_reading_order() {
        let comments = [(1, None), (2, None), (3, Some(1)), (4, Some(3)), (5, Some(1)), (6, Some(99))];
        assert_eq!(thread(&comments), [(0, 0), (2, 1), (3, 2), (4, 1), (1, 0), (5, 0)]);
    }

    #[test]
    fn a_long_thread_is_no_recursion() {
        let comments: Vec<_> = (0..100_000).map(|id| (id, (id > 0).then(|| id - 1))).collect();
        assert_eq!(thread(&comments).last(), Some(&(99_999, 99_999)));
    }

    #[test]
    fn what_users_write_is_escaped() {
        let templates = Templates::new().expect("they compile");
        let evil = r#"<script>alert("&")</script><!--[/comment:1]-->"#;
        let comment = CommentView { id: 1, article: 2, author: evil, text: evil, created_at: DateTime::UNIX_EPOCH, votes: 1 };
        let html = templates.comment(&comment).expect("it renders");
        assert!(!html.contains("<script") && !html.contains("<!--"), "{html}");
        let story = StoryView {
            id: 1,
            title: evil,
            url: Some("javascript:alert(1)"),
            author: evil,
            created_at: DateTime::UNIX_EPOCH,
            votes: 1,
            comments: 0,
        };
        for html in [templates.story(&story), templates.article(&story, &[])].map(|html| html.expect("it renders")) {
            assert!(!html.contains("<script") && !html.contains("javascript"), "{html}");
        }
    }

    #[test]
    fn hosts_are_short() {
        assert_eq!(host("https://www.example.org/a?b"), "example.org");
        assert_eq!(host("http://example.org"), "example.org");
    }
}
