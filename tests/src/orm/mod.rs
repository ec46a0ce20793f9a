//! What differs between the ORMs, and nothing else: the same site, written to and read with each of them.
//!
//! A behaviour is written once, against these traits. A further ORM is a further module here, and one line in
//! [`behaviours!`](crate::behaviours).

pub mod diesel;
pub mod diesel_async;
mod rows;
pub mod seaorm;

use cachesweeper_core::{Builder, Dependencies, Dependency, Outcome, RecordKey, Rendered, Stats};
pub use rows::{Article, Coarse, Comment, Label, Tag, Vote};

use crate::database::{Backend, Database};

/// An ORM's error, as its user reads it.
#[derive(Debug)]
pub struct Failed(pub String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// What operations return.
pub type Result<T> = std::result::Result<T, Failed>;

/// A site on a database, written to with one ORM.
#[expect(async_fn_in_trait, reason = "behaviours are awaited where they are called")]
pub trait Orm: Sized + Send + Sync + 'static {
    /// The sweeper's face.
    type Sweeper: Clone;

    /// Where rows are written: outside of transactions, or in one.
    type Writer<'w>: Writer<Orm = Self>;

    /// How often a write in a transaction whose end cannot be seen is marked, as `plain_writes` counts it.
    const PLAIN_MARKS: u64;

    /// Begins to build a sweeper.
    fn builder() -> Builder<Self::Sweeper>;

    /// Builds it.
    fn build(builder: Builder<Self::Sweeper>) -> Self::Sweeper;

    /// Opens the site. `watched`: with whatever the ORM has to notice writes that went past it.
    async fn open(database: &Database, sweeper: Self::Sweeper, watched: bool) -> Self;

    /// The sweeper.
    fn sweeper(&self) -> &Self::Sweeper;

    /// What the sweeper has done.
    fn stats(&self) -> Stats;

    /// How many statements were sent to the database, without those that begin and end transactions.
    fn statements(&self) -> usize;

    /// How many statements the commit of a sweep over one level takes, when its rows have one timestamped table above them.
    fn commit_statements(backend: Backend) -> usize;

    /// Writes outside of transactions.
    fn writer(&self) -> Self::Writer<'_>;

    /// A transaction of the sweeper's, committed if the closure returns `Ok`.
    async fn transaction<T>(&self, work: impl AsyncFnOnce(&mut Self::Writer<'_>) -> Result<T>) -> Result<T>;

    /// A transaction of the ORM itself, whose end the sweeper does not see.
    async fn plain_transaction<T>(&self, work: impl AsyncFnOnce(&mut Self::Writer<'_>) -> Result<T>) -> Result<T>;

    /// The fragment `name` of these dependencies, rendered by `body`.
    async fn render(&self, on: impl Dependencies, name: &str, body: impl AsyncFnOnce() -> String) -> Rendered;

    /// How the fragment `probe` is served to another task, or thread.
    async fn probe_elsewhere(&self, on: Vec<Dependency>) -> Outcome;

    /// An article as the database has it now.
    async fn load_article(&self, id: i64) -> Article;

    /// A comment as the database has it now.
    async fn load_comment(&self, id: i64) -> Comment;

    /// All votes.
    async fn load_votes(&self) -> Vec<Vote>;

    /// The coarse row.
    async fn load_coarse(&self, id: i64) -> Coarse;

    /// The key of a comment that need not be loaded.
    fn comment_key(id: i64) -> RecordKey;

    /// The collection of articles.
    fn articles() -> RecordKey;
}

/// The site's writes. Each sweeps.
#[expect(async_fn_in_trait, reason = "behaviours are awaited where they are called")]
pub trait Writer {
    /// Whose.
    type Orm: Orm;

    /// A savepoint, released if the closure returns `Ok`.
    async fn nested<T>(&mut self, work: impl AsyncFnOnce(&mut <Self::Orm as Orm>::Writer<'_>) -> Result<T>) -> Result<T>;

    /// Invalidates by hand.
    async fn invalidate(&mut self, on: impl Dependencies) -> Result<()>;

    /// An article of this moment.
    async fn insert_article(&mut self, title: &str) -> Result<i64>;
    /// A comment.
    async fn insert_comment(&mut self, article: Option<i64>, parent: Option<i64>) -> Result<Comment>;
    /// Several comments by one call.
    async fn insert_comments(&mut self, article: i64, count: usize) -> Result<Vec<Comment>>;
    /// A vote.
    async fn insert_vote(&mut self, comment: i64, voter: &str) -> Result<Vote>;
    /// A tag.
    async fn insert_tag(&mut self, name: &str) -> Result<Tag>;
    /// A label.
    async fn insert_label(&mut self, article: i64, tag: &str) -> Result<Label>;
    /// A row whose version is too coarse; it is made at this moment.
    async fn insert_coarse(&mut self, id: i64, body: &str) -> Result<()>;
    /// A row below it.
    async fn insert_part(&mut self, id: i64, coarse: i64) -> Result<()>;

    /// Changes the body of a comment that is in hand; the copy may be old.
    async fn edit_comment(&mut self, copy: &Comment, body: &str) -> Result<()>;
    /// Changes the body of a comment that is not in hand.
    async fn edit_comment_by_key(&mut self, id: i64, body: &str) -> Result<()>;
    /// Sets a skipped column.
    async fn view_comment(&mut self, copy: &Comment, views: i32) -> Result<()>;
    /// Moves a comment below another article.
    async fn move_comment(&mut self, copy: &Comment, article: i64) -> Result<()>;
    /// Moves all comments up to this one, by one statement. Returns how many.
    async fn move_comments_up_to(&mut self, last: i64, article: i64) -> Result<u64>;
    /// Changes the title of an article that is not in hand.
    async fn retitle_article(&mut self, id: i64, title: &str) -> Result<()>;
    /// Changes all titles by one statement. Returns how many.
    async fn retitle_articles(&mut self, title: &str) -> Result<u64>;
    /// Sets a skipped column.
    async fn view_article(&mut self, copy: &Article, views: i32) -> Result<()>;
    /// Changes the weight of a label that is in hand.
    async fn weigh_label(&mut self, copy: &Label, weight: i32) -> Result<Label>;
    /// Changes the body of a coarse row that is in hand.
    async fn edit_coarse(&mut self, copy: &Coarse, body: &str) -> Result<()>;

    /// Deletes a vote that is in hand.
    async fn delete_vote(&mut self, copy: &Vote) -> Result<()>;
    /// Deletes a vote that is not in hand.
    async fn delete_vote_by_key(&mut self, id: i64) -> Result<()>;
    /// Deletes an article's comments by one statement. Returns how many.
    async fn delete_comments_of(&mut self, article: i64) -> Result<u64>;
}
