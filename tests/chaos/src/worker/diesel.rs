//! The worker on Diesel: threads, each with a connection of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cachesweeper_diesel::Sweeper;
use cachesweeper_diesel::prelude::*;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::naive::Looked;
use super::plan::{Plan, Written};
use super::{Failed, Wishes, Worker, error_of, line_of_article, line_of_comment};
use crate::db::{Article, Comment, Db, Reply, Topic, article, comment, reply, topic};
use crate::history::{self, Form, Kind, Read, Trouble, Version};
use crate::spec::{neighbour, stays};

pub(super) fn run(worker: Worker) -> Result<(), Failed> {
    let sweeper = worker.settings(Sweeper::builder()).build()?;
    let worker = Arc::new(worker);
    let tasks: Vec<_> = (0..worker.spec.tasks)
        .map(|_| {
            let task = Task { worker: worker.clone(), sweeper: sweeper.clone() };
            std::thread::spawn(move || if task.worker.is_reader() { task.read_on() } else { task.write_on() })
        })
        .collect();
    for task in tasks {
        task.join().map_err(|_| "a thread panicked")??;
    }
    worker.finish(&sweeper.stats())
}

struct Task {
    worker: Arc<Worker>,
    sweeper: Sweeper,
}

/// The thread's connection; a new one if there is none, or the last was broken.
fn connected<'c>(slot: &'c mut Option<Db>, url: &str) -> Result<&'c mut Db, String> {
    let conn = match slot.take() {
        Some(conn) => conn,
        None => Db::open(url).map_err(|error| {
            std::thread::sleep(Duration::from_millis(20));
            error.to_string()
        })?,
    };
    Ok(slot.insert(conn))
}

impl Task {
    // ---- writing --------------------------------------------------------------------------------------------------

    fn write_on(&self) -> Result<(), Failed> {
        let mut slot = None;
        while !self.worker.stopped() {
            let (plan, op) = (Plan::choose(), self.worker.fresh_id());
            let unmarked = self.sweeper.stats().marks_failed;
            self.worker.begin(op)?;
            let done = connected(&mut slot, &self.worker.spec.database)
                .and_then(|conn| self.write(conn, plan, op).map_err(|error| error.to_string()));
            let error = error_of(done);
            self.worker.end(op, error.clone(), self.sweeper.stats().marks_failed != unmarked)?;
            if matches!(error, Some((Trouble::Database, _))) {
                slot = None;
            }
            std::thread::sleep(self.worker.thinking());
        }
        Ok(())
    }

    /// `false`: the row was gone.
    fn write(&self, conn: &mut Db, plan: Plan, op: i64) -> QueryResult<bool> {
        // Before the transaction, whose snapshot must not be older than the locks that it takes: on MySQL and MariaDB the library
        // finds a reply's article by that snapshot, and the promise is about ancestors that do not move meanwhile.
        let comments = comment::table.filter(comment::article_id.eq(plan.article())).select(comment::id).load(conn)?;
        if let (Plan::Alone(article), None) = (plan, &self.worker.naive) {
            return self.save_alone(conn, article, comments, op);
        }
        let written = self.sweeper.transaction(conn, |conn| {
            let mut written = Written::new(plan, op);
            self.statements(conn, plan, comments.clone(), &mut written)?;
            if let Some(sql) = written.log_sql() {
                conn.batch_execute(&sql)?;
            }
            if let Some(naive) = &self.worker.naive {
                naive.after_save(&written);
            }
            self.worker.body(op, Some(written.versions()));
            QueryResult::Ok(written)
        })?;
        if let Some(naive) = &self.worker.naive {
            naive.after_commit(&written);
        }
        Ok(true)
    }

    /// One statement, outside of transactions; the database raises the version and logs it.
    fn save_alone(&self, conn: &mut Db, article: i64, mut comments: Vec<i64>, op: i64) -> QueryResult<bool> {
        fastrand::shuffle(&mut comments);
        self.worker.body(op, None);
        let saved = match comments.into_iter().find(|id| stays(*id)) {
            Some(id) if fastrand::u8(..3) > 0 => self.sweeper.update_and_sweep(conn, comment::table.find(id), comment::op.eq(op))?,
            _ if fastrand::u8(..4) == 0 => {
                let row = Comment { id: self.worker.fresh_id(), article_id: article, version: 1, op };
                self.sweeper.insert_and_sweep(conn, comment::table, row)?
            }
            _ => self.sweeper.update_and_sweep(conn, article::table.find(article), article::op.eq(op))?,
        };
        Ok(saved > 0)
    }

    fn statements(&self, conn: &mut Db, plan: Plan, mut comments: Vec<i64>, written: &mut Written) -> QueryResult<()> {
        if let Plan::Article(id) = plan {
            self.sweeper.update_and_sweep(conn, article::table.find(id), article::version.eq(article::version + 1))?;
            let version = article::table.find(id).select(article::version).first(conn)?;
            written.note(Kind::Article, id, version, None);
            return Ok(());
        }
        let home = plan.article();
        fastrand::shuffle(&mut comments);
        if matches!(plan, Plan::Move(_)) {
            comments.retain(|id| !stays(*id));
        }
        if let (Plan::Insert(_), 0..=5) | (Plan::Delete(_), 0..=3) = (plan, comments.len()) {
            return self.insert(conn, home, written);
        }
        let mut chosen = comments.into_iter().take(if matches!(plan, Plan::Two(_)) { 2 } else { 1 }).collect::<Vec<_>>();
        // In one order, so that two such transactions do not wait for each other in a circle.
        chosen.sort_unstable();
        for id in chosen {
            match plan {
                Plan::Move(_) => self.move_to(conn, id, home, written)?,
                Plan::Reply(_) => self.raise_reply(conn, id, written)?,
                Plan::Insert(_) | Plan::Delete(_) => self.delete(conn, id, written)?,
                Plan::Article(_) | Plan::Comment(_) | Plan::Two(_) | Plan::Alone(_) => drop(self.raise(conn, id, written)?),
            }
        }
        Ok(())
    }

    fn insert(&self, conn: &mut Db, home: i64, written: &mut Written) -> QueryResult<()> {
        let id = self.worker.fresh_id();
        self.sweeper.insert_and_sweep(conn, comment::table, Comment { id, article_id: home, version: 1, op: 0 })?;
        self.sweeper.insert_and_sweep(conn, reply::table, Reply { id, comment_id: id, version: 1 })?;
        written.note(Kind::Comment, id, 1, Some(home));
        written.note(Kind::Reply, id, 1, Some(home));
        Ok(())
    }

    /// Raises a comment's version; `None` if it is not there any more.
    fn raise(&self, conn: &mut Db, id: i64, written: &mut Written) -> QueryResult<Option<i64>> {
        let raised = if self.worker.spec.raw_sql && fastrand::bool() {
            // Past the wrappers.
            conn.batch_execute(&format!("UPDATE comment SET version = version + 1 WHERE id = {id}"))?;
            1
        } else {
            self.sweeper.update_and_sweep(conn, comment::table.find(id), comment::version.eq(comment::version + 1))?
        };
        if raised == 0 {
            return Ok(None);
        }
        let now: Option<(i64, i64)> = comment::table.find(id).select((comment::version, comment::article_id)).first(conn).optional()?;
        let Some((version, home)) = now else { return Ok(None) };
        written.note(Kind::Comment, id, version, Some(home));
        Ok(Some(version))
    }

    fn move_to(&self, conn: &mut Db, id: i64, home: i64, written: &mut Written) -> QueryResult<()> {
        let away = neighbour(home);
        let set = (comment::version.eq(comment::version + 1), comment::article_id.eq(away));
        if self.sweeper.update_and_sweep(conn, comment::table.find(id), set)? > 0 {
            let version = comment::table.find(id).select(comment::version).first(conn)?;
            written.note(Kind::Comment, id, version, Some(away));
        }
        Ok(())
    }

    fn raise_reply(&self, conn: &mut Db, id: i64, written: &mut Written) -> QueryResult<()> {
        // So that its comment cannot move in the same moment.
        conn.batch_execute(&format!("SELECT id FROM comment WHERE id = {id} FOR UPDATE"))?;
        if self.sweeper.update_and_sweep(conn, reply::table.find(id), reply::version.eq(reply::version + 1))? > 0 {
            let version = reply::table.find(id).select(reply::version).first(conn)?;
            written.note(Kind::Reply, id, version, None);
        }
        Ok(())
    }

    fn delete(&self, conn: &mut Db, id: i64, written: &mut Written) -> QueryResult<()> {
        // Raised first: that locks it, and tells its version.
        let Some(version) = self.raise(conn, id, written)? else { return Ok(()) };
        self.sweeper.delete_and_sweep(conn, reply::table.find(id))?;
        self.sweeper.delete_and_sweep(conn, comment::table.find(id))?;
        written.note(Kind::Comment, id, version + 1, None);
        Ok(())
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    fn read_on(&self) -> Result<(), Failed> {
        let (mut slot, mut wishes) = (None, Wishes::default());
        while !self.worker.stopped() {
            let wish = wishes.next(self.worker.naive.is_none());
            let mut read = Read {
                begin: history::now(),
                end: 0,
                form: wish.form,
                id: wish.id,
                group: wish.group,
                outcome: String::new(),
                why: String::new(),
                page: String::new(),
                witness: None,
                error: None,
            };
            let shown = connected(&mut slot, &self.worker.spec.database).and_then(|conn| {
                let mut show = || {
                    if wish.ask_witness {
                        read.witness = Some(witness(conn, wish.group)?);
                    }
                    read.begin = history::now();
                    self.show(conn, wish.form, wish.id)
                };
                show().map_err(|error| error.to_string())
            });
            read.end = history::now();
            match shown {
                Ok((page, outcome, why)) => {
                    wishes.saw(&page, wish.group);
                    (read.page, read.outcome, read.why) = (page, outcome, why);
                }
                Err(error) => {
                    read.error = Some(error);
                    slot = None;
                }
            }
            self.worker.read(read)?;
        }
        Ok(())
    }

    fn show(&self, conn: &mut Db, form: Form, id: i64) -> QueryResult<(String, String, String)> {
        if let Some(naive) = &self.worker.naive {
            return match naive.look_up(form, id) {
                Looked::Hit(page) => Ok((page, "hit".into(), "hit".into())),
                Looked::Miss(version) => {
                    let page = self.render(conn, form, id)?;
                    naive.fill(form, id, &version, &page);
                    Ok((page, "miss".into(), "miss".into()))
                }
                Looked::Down => Ok((self.render(conn, form, id)?, "bypass".into(), "down".into())),
            };
        }
        let rendered = match form {
            Form::Key => self.sweeper.fragment(Article::key(id), "article").get_or_render(|| self.render(conn, form, id))?,
            Form::Row => {
                let row: Article = article::table.find(id).first(conn)?;
                self.sweeper.fragment(&row, "article-diesel").get_or_render(|| self.render(conn, form, id))?
            }
            Form::Comment => self.sweeper.fragment(Comment::key(id), "comment").get_or_render(|| self.render(conn, form, id))?,
            Form::Topic => {
                let row: Topic = topic::table.find(id).first(conn)?;
                self.sweeper.fragment(&row, "topic-diesel").get_or_render(|| self.render_topic(conn, id))?
            }
        };
        let outcome = rendered.outcome();
        Ok((rendered.into(), outcome.word().to_owned(), format!("{outcome:?}")))
    }

    fn render(&self, conn: &mut Db, form: Form, id: i64) -> QueryResult<String> {
        if form == Form::Comment {
            let row: Option<Comment> = comment::table.find(id).first(conn).optional()?;
            let Some(row) = row else { return Ok(format!("x {id}\n")) };
            let reply = reply::table.find(id).select(reply::version).first(conn).optional()?;
            return Ok(line_of_comment(id, row.version, reply));
        }
        let shown = if self.worker.spec.undeclared { vec![id, neighbour(id)] } else { vec![id] };
        let articles: Vec<Article> = article::table.filter(article::id.eq_any(shown)).load(conn)?;
        let mut page: String = articles.iter().map(|row| line_of_article(row.id, row.version)).collect();
        let comments: Vec<Comment> = comment::table.filter(comment::article_id.eq(id)).order(comment::id).load(conn)?;
        if self.worker.naive.is_some() {
            page.extend(self.pieces(conn, &comments.iter().collect::<Vec<_>>())?);
            return Ok(page);
        }
        let pieces = self.sweeper.fragments(&comments, "comment-diesel").get_or_render(|missing| self.pieces(conn, missing))?;
        page.extend(pieces.into_iter().map(String::from));
        Ok(page)
    }

    fn render_topic(&self, conn: &mut Db, id: i64) -> QueryResult<String> {
        let articles: Vec<Article> = article::table.filter(article::topic_id.eq(id)).load(conn)?;
        let ids: Vec<i64> = articles.iter().map(|row| row.id).collect();
        let comments: Vec<Comment> = comment::table.filter(comment::article_id.eq_any(ids)).load(conn)?;
        let mut page: String = articles.iter().map(|row| line_of_article(row.id, row.version)).collect();
        page.extend(self.pieces(conn, &comments.iter().collect::<Vec<_>>())?);
        Ok(page)
    }

    fn pieces(&self, conn: &mut Db, comments: &[&Comment]) -> QueryResult<Vec<String>> {
        let ids: Vec<i64> = comments.iter().map(|row| row.id).collect();
        let replies: Vec<(i64, i64)> =
            reply::table.filter(reply::comment_id.eq_any(ids)).select((reply::comment_id, reply::version)).load(conn)?;
        let replies: HashMap<i64, i64> = replies.into_iter().collect();
        Ok(comments.iter().map(|row| line_of_comment(row.id, row.version, replies.get(&row.id).copied())).collect())
    }
}

fn witness(conn: &mut Db, group: i64) -> QueryResult<Vec<Version>> {
    conn.witness(group)
}
