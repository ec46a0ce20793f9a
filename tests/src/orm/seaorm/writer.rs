//! The site's writes with SeaORM: saves of active models, and bulk writes.

use cachesweeper_seaorm::{Dependencies, ExecAndSweep, SweepConnection, SweepTransaction, Sweeper, insert_many_and_sweep};
use sea_orm::ActiveValue::Unchanged;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter, Set,
    TransactionTrait,
};

use super::entity::{article, coarse, comment, label, part, tag, vote};
use super::{SeaOrm, new_comment, new_vote};
use crate::orm::{Article, Coarse, Comment, Failed, Label, Result, Tag, Vote, Writer};

/// What SeaORM writes on.
#[derive(Clone, Copy)]
pub enum On<'w> {
    /// The wrapped connection.
    Connection(&'w SweepConnection),
    /// Its transaction.
    Transaction(&'w SweepTransaction),
    /// SeaORM's own connection.
    PlainConnection(&'w DatabaseConnection),
    /// SeaORM's own transaction.
    PlainTransaction(&'w DatabaseTransaction),
}

/// The site's writes with SeaORM.
pub struct SeaWriter<'w> {
    /// For invalidations by hand.
    pub sweeper: &'w Sweeper,
    /// Where it writes.
    pub on: On<'w>,
}

/// Runs an expression on whatever it is that is written on.
macro_rules! on {
    ($self:ident, |$db:ident| $body:expr) => {
        match $self.on {
            On::Connection($db) => $body,
            On::Transaction($db) => $body,
            On::PlainConnection($db) => $body,
            On::PlainTransaction($db) => $body,
        }
    };
}

impl Writer for SeaWriter<'_> {
    type Orm = SeaOrm;

    async fn nested<T>(&mut self, work: impl AsyncFnOnce(&mut SeaWriter<'_>) -> Result<T>) -> Result<T> {
        match self.on {
            On::Transaction(txn) => Ok(txn
                .transaction_async(async |txn| work(&mut SeaWriter { sweeper: self.sweeper, on: On::Transaction(txn) }).await)
                .await?),
            On::PlainTransaction(txn) => {
                let inner = txn.begin().await?;
                let done = work(&mut SeaWriter { sweeper: self.sweeper, on: On::PlainTransaction(&inner) }).await;
                match &done {
                    Ok(_) => inner.commit().await?,
                    Err(_) => inner.rollback().await?,
                }
                done
            }
            On::Connection(_) | On::PlainConnection(_) => Err(Failed("a savepoint needs a transaction around it".into())),
        }
    }

    async fn invalidate(&mut self, on: impl Dependencies) -> Result<()> {
        self.sweeper.invalidate(on).await.map_err(|error| Failed(error.to_string()))
    }

    async fn insert_article(&mut self, title: &str) -> Result<i64> {
        let now = Set(chrono::Utc::now().naive_utc());
        let article = article::ActiveModel { title: Set(title.into()), views: Set(0), updated_at: now, ..Default::default() };
        Ok(on!(self, |db| article.insert(db).await)?.id)
    }

    async fn insert_comment(&mut self, article: Option<i64>, parent: Option<i64>) -> Result<Comment> {
        Ok(on!(self, |db| new_comment(article, parent).insert(db).await)?.into())
    }

    async fn insert_comments(&mut self, article: i64, count: usize) -> Result<Vec<Comment>> {
        let comments = (0..count).map(|_| new_comment(Some(article), None));
        let inserted = match self.on {
            On::Connection(db) => insert_many_and_sweep(comments, db).await?,
            On::Transaction(txn) => insert_many_and_sweep(comments, txn).await?,
            On::PlainConnection(_) | On::PlainTransaction(_) => return Err(bulk()),
        };
        Ok(inserted.into_iter().map(Into::into).collect())
    }

    async fn insert_vote(&mut self, comment: i64, voter: &str) -> Result<Vote> {
        Ok(on!(self, |db| new_vote(comment, voter).insert(db).await)?.into())
    }

    async fn insert_tag(&mut self, name: &str) -> Result<Tag> {
        let tag = tag::ActiveModel { name: Set(name.into()), note: Set(String::new()) };
        Ok(on!(self, |db| tag.insert(db).await)?.into())
    }

    async fn insert_label(&mut self, article: i64, tag: &str) -> Result<Label> {
        let label = label::ActiveModel { article_id: Set(article), tag_name: Set(tag.into()), weight: Set(1) };
        Ok(on!(self, |db| label.insert(db).await)?.into())
    }

    async fn insert_coarse(&mut self, id: i64, body: &str) -> Result<()> {
        // The hook sets the version.
        let row = coarse::ActiveModel { id: Set(id), body: Set(body.into()), ..Default::default() };
        on!(self, |db| row.insert(db).await)?;
        Ok(())
    }

    async fn insert_part(&mut self, id: i64, coarse: i64) -> Result<()> {
        on!(self, |db| part::ActiveModel { id: Set(id), coarse_id: Set(coarse) }.insert(db).await)?;
        Ok(())
    }

    async fn edit_comment(&mut self, copy: &Comment, body: &str) -> Result<()> {
        let mut edit = comment::Model::from(copy).into_active_model();
        edit.body = Set(body.into());
        on!(self, |db| edit.update(db).await)?;
        Ok(())
    }

    async fn edit_comment_by_key(&mut self, id: i64, body: &str) -> Result<()> {
        let edit = comment::ActiveModel { id: Unchanged(id), body: Set(body.into()), ..Default::default() };
        on!(self, |db| edit.update(db).await)?;
        Ok(())
    }

    async fn view_comment(&mut self, copy: &Comment, views: i32) -> Result<()> {
        let mut viewed = comment::Model::from(copy).into_active_model();
        viewed.views = Set(views);
        on!(self, |db| viewed.update(db).await)?;
        Ok(())
    }

    async fn move_comment(&mut self, copy: &Comment, article: i64) -> Result<()> {
        let mut moving = comment::Model::from(copy).into_active_model();
        moving.article_id = Set(Some(article));
        on!(self, |db| moving.update(db).await)?;
        Ok(())
    }

    async fn move_comments_up_to(&mut self, last: i64, article: i64) -> Result<u64> {
        let moving = comment::Entity::update_many().col_expr(comment::Column::ArticleId, Expr::value(article));
        let moving = moving.filter(comment::Column::Id.lte(last));
        let moved = match self.on {
            On::Connection(db) => moving.exec_and_sweep(db).await?,
            On::Transaction(txn) => moving.exec_and_sweep(txn).await?,
            On::PlainConnection(_) | On::PlainTransaction(_) => return Err(bulk()),
        };
        Ok(moved.rows_affected)
    }

    async fn retitle_article(&mut self, id: i64, title: &str) -> Result<()> {
        let edit = article::ActiveModel { id: Unchanged(id), title: Set(title.into()), ..Default::default() };
        on!(self, |db| edit.update(db).await)?;
        Ok(())
    }

    async fn retitle_articles(&mut self, title: &str) -> Result<u64> {
        let titles = article::Entity::update_many().col_expr(article::Column::Title, Expr::value(title));
        let retitled = match self.on {
            On::Connection(db) => titles.exec_and_sweep(db).await?,
            On::Transaction(txn) => titles.exec_and_sweep(txn).await?,
            On::PlainConnection(_) | On::PlainTransaction(_) => return Err(bulk()),
        };
        Ok(retitled.rows_affected)
    }

    async fn view_article(&mut self, copy: &Article, views: i32) -> Result<()> {
        let mut viewed = article::Model::from(copy).into_active_model();
        viewed.views = Set(views);
        on!(self, |db| viewed.update(db).await)?;
        Ok(())
    }

    async fn weigh_label(&mut self, copy: &Label, weight: i32) -> Result<Label> {
        let mut heavier = label::Model::from(copy).into_active_model();
        heavier.weight = Set(weight);
        Ok(on!(self, |db| heavier.update(db).await)?.into())
    }

    async fn edit_coarse(&mut self, copy: &Coarse, body: &str) -> Result<()> {
        let mut edit = coarse::Model::from(copy).into_active_model();
        edit.body = Set(body.into());
        on!(self, |db| edit.update(db).await)?;
        Ok(())
    }

    async fn delete_vote(&mut self, copy: &Vote) -> Result<()> {
        on!(self, |db| vote::Model::from(copy).delete(db).await)?;
        Ok(())
    }

    async fn delete_vote_by_key(&mut self, id: i64) -> Result<()> {
        on!(self, |db| vote::ActiveModel { id: Set(id), ..Default::default() }.delete(db).await)?;
        Ok(())
    }

    async fn delete_comments_of(&mut self, article: i64) -> Result<u64> {
        let deleting = comment::Entity::delete_many().filter(comment::Column::ArticleId.eq(article));
        let deleted = match self.on {
            On::Connection(db) => deleting.exec_and_sweep(db).await?,
            On::Transaction(txn) => deleting.exec_and_sweep(txn).await?,
            On::PlainConnection(_) | On::PlainTransaction(_) => return Err(bulk()),
        };
        Ok(deleted.rows_affected)
    }
}

fn bulk() -> Failed {
    Failed("SeaORM's bulk writes are swept on wrapped connections only".into())
}
