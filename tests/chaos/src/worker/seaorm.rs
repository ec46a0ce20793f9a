//! The worker on SeaORM: tasks of one runtime, on the async sweeper.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cachesweeper_seaorm::{CacheSweep as _, ExecAndSweep as _, SweepConnection, SweepTransaction, Sweeper};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Set, TransactionTrait, Unchanged,
};

use super::entity::{article, comment, event, reply, topic};
use super::naive::Looked;
use super::plan::{Plan, Written};
use super::{Failed, Wishes, Worker, error_of, line_of_article, line_of_comment};
use crate::history::{self, Form, Kind, Read, Version};
use crate::spec::{group, has_topic, neighbour, stays};

pub(super) fn run(worker: Worker) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(work(Arc::new(worker)));
    // What was spawned for unknown outcomes ends with the process.
    runtime.shutdown_background();
    done
}

async fn work(worker: Arc<Worker>) -> Result<(), Failed> {
    let sweeper = worker.settings(Sweeper::builder()).build()?;
    let mut options = ConnectOptions::new(&worker.spec.database);
    let timeout = Duration::from_secs(20);
    options.max_connections(worker.spec.tasks + 2).sqlx_logging(false).connect_timeout(timeout).acquire_timeout(timeout);
    sweeper.install();
    let db = SweepConnection::new(Database::connect(options).await?, sweeper.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..worker.spec.tasks {
        let task = Task { worker: worker.clone(), db: db.clone() };
        tasks.spawn(async move { if task.worker.is_reader() { task.read_on().await } else { task.write_on().await } });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    worker.finish(&sweeper.stats())
}

struct Task {
    worker: Arc<Worker>,
    db: SweepConnection,
}

impl Task {
    // ---- writing --------------------------------------------------------------------------------------------------

    async fn write_on(&self) -> Result<(), Failed> {
        while !self.worker.stopped() {
            let (plan, op) = (Plan::choose(), self.worker.fresh_id());
            let unmarked = self.db.sweeper().stats().marks_failed;
            self.worker.begin(op)?;
            let error = error_of(self.write(plan, op).await.map_err(|error| error.to_string()));
            self.worker.end(op, error, self.db.sweeper().stats().marks_failed != unmarked)?;
            tokio::time::sleep(self.worker.thinking()).await;
        }
        Ok(())
    }

    /// `false`: the row was gone.
    async fn write(&self, plan: Plan, op: i64) -> Result<bool, DbErr> {
        // Before the transaction, whose snapshot must not be older than the locks that it takes: on MySQL and MariaDB the library
        // finds a reply's article by that snapshot, and the promise is about ancestors that do not move meanwhile.
        let rows = comment::Entity::find().filter(comment::Column::ArticleId.eq(plan.article())).all(&self.db).await?;
        let comments: Vec<i64> = rows.into_iter().map(|row| row.id).collect();
        if let (Plan::Alone(article), None) = (plan, &self.worker.naive) {
            self.worker.body(op, None);
            // A connection of SeaORM's own knows the sweeper that was installed. It cannot touch a topic with the row, and says so.
            let saved = if fastrand::bool() || has_topic(group(article)) {
                self.save_alone(&self.db, article, comments, op).await
            } else {
                self.save_alone(self.db.inner(), article, comments, op).await
            };
            return match saved {
                Err(DbErr::RecordNotUpdated | DbErr::RecordNotFound(_)) => Ok(false),
                saved => saved.map(|()| true),
            };
        }
        let txn = self.db.begin().await?;
        let mut written = Written::new(plan, op);
        self.statements(&txn, plan, comments, &mut written).await?;
        if let Some(sql) = written.log_sql() {
            txn.execute_unprepared(&sql).await?;
        }
        if let Some(naive) = &self.worker.naive {
            tokio::task::block_in_place(|| naive.after_save(&written));
        }
        self.worker.body(op, Some(written.versions()));
        txn.commit().await?;
        if let Some(naive) = &self.worker.naive {
            tokio::task::block_in_place(|| naive.after_commit(&written));
        }
        Ok(true)
    }

    /// One statement, outside of transactions, between its two hooks; the database raises the version and logs it.
    async fn save_alone<C: ConnectionTrait>(&self, db: &C, article: i64, mut comments: Vec<i64>, op: i64) -> Result<(), DbErr> {
        fastrand::shuffle(&mut comments);
        match comments.into_iter().find(|id| stays(*id)) {
            Some(id) if fastrand::u8(..3) > 0 => {
                comment::ActiveModel { id: Unchanged(id), op: Set(op), ..Default::default() }.update(db).await?;
            }
            _ if fastrand::u8(..4) == 0 => {
                let id = self.worker.fresh_id();
                comment::ActiveModel { id: Set(id), article_id: Set(article), version: Set(1), op: Set(op) }.insert(db).await?;
            }
            _ => {
                article::ActiveModel { id: Unchanged(article), op: Set(op), ..Default::default() }.update(db).await?;
            }
        }
        Ok(())
    }

    async fn statements(&self, txn: &SweepTransaction, plan: Plan, mut comments: Vec<i64>, written: &mut Written) -> Result<(), DbErr> {
        if let Plan::Article(id) = plan {
            let row = article::Entity::find_by_id(id).lock_exclusive().one(txn).await?;
            let Some(row) = row else { return Ok(()) };
            let version = row.version + 1;
            article::ActiveModel { id: Unchanged(id), version: Set(version), ..Default::default() }.update(txn).await?;
            written.note(Kind::Article, id, version, None);
            return Ok(());
        }
        let home = plan.article();
        fastrand::shuffle(&mut comments);
        if matches!(plan, Plan::Move(_)) {
            comments.retain(|id| !stays(*id));
        }
        if let (Plan::Insert(_), 0..=5) | (Plan::Delete(_), 0..=3) = (plan, comments.len()) {
            return self.insert(txn, home, written).await;
        }
        let mut chosen = comments.into_iter().take(if matches!(plan, Plan::Two(_)) { 2 } else { 1 }).collect::<Vec<_>>();
        // In one order, so that two such transactions do not wait for each other in a circle.
        chosen.sort_unstable();
        for id in chosen {
            // The lock also keeps a reply's comment where it is.
            let Some(row) = comment::Entity::find_by_id(id).lock_exclusive().one(txn).await? else { continue };
            match plan {
                Plan::Move(_) => {
                    let (away, version) = (neighbour(row.article_id), row.version + 1);
                    let moved =
                        comment::ActiveModel { id: Unchanged(id), version: Set(version), article_id: Set(away), ..Default::default() };
                    moved.update(txn).await?;
                    written.note(Kind::Comment, id, version, Some(away));
                }
                Plan::Reply(_) => self.raise_reply(txn, id, written).await?,
                Plan::Insert(_) | Plan::Delete(_) => {
                    reply::Entity::delete_many().filter(reply::Column::Id.eq(id)).exec_and_sweep(txn).await?;
                    comment::ActiveModel { id: Unchanged(id), ..Default::default() }.delete(txn).await?;
                    written.note(Kind::Comment, id, row.version + 1, None);
                }
                Plan::Article(_) | Plan::Comment(_) | Plan::Two(_) | Plan::Alone(_) => self.raise(txn, row, written).await?,
            }
        }
        Ok(())
    }

    async fn insert(&self, txn: &SweepTransaction, home: i64, written: &mut Written) -> Result<(), DbErr> {
        let id = self.worker.fresh_id();
        comment::ActiveModel { id: Set(id), article_id: Set(home), version: Set(1), op: Set(0) }.insert(txn).await?;
        reply::ActiveModel { id: Set(id), comment_id: Set(id), version: Set(1) }.insert(txn).await?;
        written.note(Kind::Comment, id, 1, Some(home));
        written.note(Kind::Reply, id, 1, Some(home));
        Ok(())
    }

    async fn raise(&self, txn: &SweepTransaction, row: comment::Model, written: &mut Written) -> Result<(), DbErr> {
        let (id, version) = (row.id, row.version + 1);
        if self.worker.spec.raw_sql && fastrand::bool() {
            // Past the hooks.
            txn.execute_unprepared(&format!("UPDATE comment SET version = {version} WHERE id = {id}")).await?;
        } else {
            comment::ActiveModel { id: Unchanged(id), version: Set(version), ..Default::default() }.update(txn).await?;
        }
        written.note(Kind::Comment, id, version, Some(row.article_id));
        Ok(())
    }

    async fn raise_reply(&self, txn: &SweepTransaction, id: i64, written: &mut Written) -> Result<(), DbErr> {
        let raised = reply::Entity::update_many()
            .col_expr(reply::Column::Version, Expr::col(reply::Column::Version).add(1))
            .filter(reply::Column::Id.eq(id))
            .exec_and_sweep(txn)
            .await?;
        if raised.rows_affected > 0
            && let Some(row) = reply::Entity::find_by_id(id).one(txn).await?
        {
            written.note(Kind::Reply, id, row.version, None);
        }
        Ok(())
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    async fn read_on(&self) -> Result<(), Failed> {
        let mut wishes = Wishes::default();
        while !self.worker.stopped() {
            let wish = wishes.next(self.worker.naive.is_none());
            let (mut witnessed, mut begin) = (None, history::now());
            let mut asked = Ok(());
            if wish.ask_witness {
                match self.witness(wish.group).await {
                    Ok(versions) => witnessed = Some(versions),
                    Err(error) => asked = Err(error),
                }
                begin = history::now();
            }
            let shown = match asked {
                Ok(()) => self.show(wish.form, wish.id).await,
                Err(error) => Err(error),
            };
            let end = history::now();
            let (page, outcome, why, error) = match shown {
                Ok((page, outcome, why)) => (page, outcome, why, None),
                Err(error) => (String::new(), String::new(), String::new(), Some(error.to_string())),
            };
            wishes.saw(&page, wish.group);
            let (form, id, group) = (wish.form, wish.id, wish.group);
            self.worker.read(Read { begin, end, form, id, group, outcome, why, page, witness: witnessed, error })?;
        }
        Ok(())
    }

    async fn witness(&self, group: i64) -> Result<Vec<Version>, DbErr> {
        let rows: Vec<(i64, i64, i64)> = event::Entity::find()
            .select_only()
            .column(event::Column::Kind)
            .column(event::Column::Id)
            .column_as(event::Column::Version.max(), "version")
            .filter(event::Column::Grp.eq(group))
            .group_by(event::Column::Kind)
            .group_by(event::Column::Id)
            .into_tuple()
            .all(self.db.inner())
            .await?;
        Ok(rows.into_iter().filter_map(|(kind, id, version)| Some((Kind::of(kind)?, id, version))).collect())
    }

    async fn show(&self, form: Form, id: i64) -> Result<(String, String, String), DbErr> {
        if let Some(naive) = &self.worker.naive {
            return match tokio::task::block_in_place(|| naive.look_up(form, id)) {
                Looked::Hit(page) => Ok((page, "hit".into(), "hit".into())),
                Looked::Miss(version) => {
                    let page = self.render(form, id).await?;
                    tokio::task::block_in_place(|| naive.fill(form, id, &version, &page));
                    Ok((page, "miss".into(), "miss".into()))
                }
                Looked::Down => Ok((self.render(form, id).await?, "bypass".into(), "down".into())),
            };
        }
        let sweeper = self.db.sweeper();
        let rendered = match form {
            Form::Key => sweeper.fragment(article::Model::key(id), "article").get_or_render(async || self.render(form, id).await).await?,
            Form::Row => {
                let row = article::Entity::find_by_id(id).one(&self.db).await?;
                let row = row.ok_or_else(|| DbErr::RecordNotFound(format!("article {id}")))?;
                sweeper.fragment(&row, "article-seaorm").get_or_render(async || self.render(form, id).await).await?
            }
            Form::Comment => {
                sweeper.fragment(comment::Model::key(id), "comment").get_or_render(async || self.render(form, id).await).await?
            }
            Form::Topic => {
                let row = topic::Entity::find_by_id(id).one(&self.db).await?;
                let row = row.ok_or_else(|| DbErr::RecordNotFound(format!("topic {id}")))?;
                sweeper.fragment(&row, "topic-seaorm").get_or_render(async || self.render_topic(id).await).await?
            }
        };
        let outcome = rendered.outcome();
        Ok((rendered.into(), outcome.word().to_owned(), format!("{outcome:?}")))
    }

    async fn render(&self, form: Form, id: i64) -> Result<String, DbErr> {
        let db = &self.db;
        if form == Form::Comment {
            let Some(row) = comment::Entity::find_by_id(id).one(db).await? else { return Ok(format!("x {id}\n")) };
            let reply = reply::Entity::find_by_id(id).one(db).await?;
            return Ok(line_of_comment(id, row.version, reply.map(|reply| reply.version)));
        }
        let shown = if self.worker.spec.undeclared { vec![id, neighbour(id)] } else { vec![id] };
        let articles = article::Entity::find().filter(article::Column::Id.is_in(shown)).all(db).await?;
        let mut page: String = articles.iter().map(|row| line_of_article(row.id, row.version)).collect();
        let rows = comment::Entity::find().filter(comment::Column::ArticleId.eq(id)).order_by_asc(comment::Column::Id).all(db).await?;
        if self.worker.naive.is_some() {
            page.extend(self.pieces(&rows.iter().collect::<Vec<_>>()).await?);
            return Ok(page);
        }
        let fragments = db.sweeper().fragments(&rows, "comment-seaorm");
        let pieces = fragments.get_or_render(async |missing: &[&comment::Model]| self.pieces(missing).await).await?;
        page.extend(pieces.into_iter().map(String::from));
        Ok(page)
    }

    async fn render_topic(&self, id: i64) -> Result<String, DbErr> {
        let articles = article::Entity::find().filter(article::Column::TopicId.eq(id)).all(&self.db).await?;
        let ids = articles.iter().map(|row| row.id);
        let comments = comment::Entity::find().filter(comment::Column::ArticleId.is_in(ids)).all(&self.db).await?;
        let mut page: String = articles.iter().map(|row| line_of_article(row.id, row.version)).collect();
        page.push_str(&self.pieces(&comments.iter().collect::<Vec<_>>()).await?.concat());
        Ok(page)
    }

    async fn pieces(&self, comments: &[&comment::Model]) -> Result<Vec<String>, DbErr> {
        let ids = comments.iter().map(|row| row.id);
        let replies = reply::Entity::find().filter(reply::Column::CommentId.is_in(ids)).all(&self.db).await?;
        let replies: HashMap<i64, i64> = replies.into_iter().map(|row| (row.comment_id, row.version)).collect();
        Ok(comments.iter().map(|row| line_of_comment(row.id, row.version, replies.get(&row.id).copied())).collect())
    }
}
