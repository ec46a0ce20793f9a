//! Notices writes that no wrapper made, and savepoints that end.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use cachesweeper_core::face::Face;
use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::anatomy::unquote;
use crate::frames::{Savepoint, savepoint};
use crate::rewrite::SWEPT;

/// Watches the statements of a connection for writes to swept tables that no wrapper made. Reports each once, with the
/// wrapper to use, and counts all (`writes_unswept` of [`Stats`](crate::Stats)).
///
/// It reads every statement's text, so it is for development and tests. It also sees plain `conn.transaction(…)` inside of
/// ours roll back, so that what they changed is not swept.
///
/// ```
/// use cachesweeper_diesel::{Sweeper, Watcher};
/// use diesel::connection::{Connection, InstrumentationEvent};
///
/// # fn example(conn: &mut impl Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let sweeper = Sweeper::builder().memory(1 << 20).build()?;
/// conn.set_instrumentation(Watcher::new(&sweeper));
/// // With an instrumentation of your own, of which a connection has only one:
/// conn.set_instrumentation(Watcher::with(&sweeper, |event: InstrumentationEvent<'_>| println!("{event:?}")));
/// # Ok(())
/// # }
/// ```
pub struct Watcher {
    report: Box<dyn FnMut(&Unswept) + Send>,
    registered: Box<dyn Fn(&str) -> bool + Send>,
    yours: Option<Box<dyn Instrumentation>>,
    /// The connection, if it is in a transaction of ours.
    identity: Option<usize>,
}

/// A write that no wrapper made.
struct Unswept {
    table: String,
    wrapper: &'static str,
    statement: String,
}

thread_local! {
    /// The connection on which a transaction of ours begins right now.
    static BEGINNING: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Lets the connection's watcher know which connection it watches, while `begin` runs.
pub(crate) fn announce<T>(identity: usize, begin: impl FnOnce() -> T) -> T {
    BEGINNING.set(Some(identity));
    let begun = begin();
    BEGINNING.set(None);
    begun
}

/// What was reported already, by all connections of a sweeper.
#[derive(Debug, Default)]
struct Reported(Mutex<HashSet<String>>);

impl Watcher {
    /// A watcher that reports to this sweeper's log and statistics; of either face. One per connection.
    pub fn new<S: Face>(sweeper: &S) -> Self {
        let sweeper = sweeper.clone();
        let reported: Arc<Reported> = sweeper.adapter(Reported::default);
        let graph = sweeper.clone();
        let report = move |write: &Unswept| {
            sweeper.count_unswept_write();
            if reported.0.lock().unwrap_or_else(PoisonError::into_inner).insert(write.statement.clone()) {
                tracing::warn!(
                    table = write.table,
                    statement = write.statement,
                    "a write went past the wrappers, so fragments that show its rows may be stale: use `{}`, or `{}` on the statement",
                    write.wrapper,
                    "execute_and_sweep"
                );
            }
        };
        let registered = move |table: &str| graph.graph().table(table).is_some();
        Self { report: Box::new(report), registered: Box::new(registered), yours: None, identity: None }
    }

    /// As [`new`](Self::new), and hands every event on to an instrumentation of your own: a connection has only one.
    pub fn with<S: Face>(sweeper: &S, yours: impl Instrumentation) -> Self {
        Self { yours: Some(Box::new(yours)), ..Self::new(sweeper) }
    }

    /// A savepoint of a transaction of ours begins or ends; whoever made it.
    fn savepoint(&mut self, depth: u32, what: Savepoint) {
        if let Some(identity) = self.identity {
            savepoint(identity, depth, what);
        }
    }

    fn look(&mut self, query: &dyn fmt::Display) {
        let mut shown = Beginning::default();
        // It ends with an error once enough was shown.
        let _ = write!(shown, "{query}");
        // Of a long statement the end is not seen, so that it is rather told from its beginning.
        if shown.0.contains(SWEPT.trim()) || (shown.is_full() && shows_end(query)) {
            return;
        }
        if let Some(write) = unswept(&shown.0)
            && (self.registered)(&write.table)
        {
            (self.report)(&write);
        }
    }
}

/// Whether a statement that is too long to be kept is one of ours.
fn shows_end(query: &dyn fmt::Display) -> bool {
    /// Looks for the mark in what passes by.
    struct Search {
        tail: String,
        found: bool,
    }
    impl fmt::Write for Search {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.tail.push_str(text);
            self.found |= self.tail.contains(SWEPT.trim());
            let keep = self.tail.len().saturating_sub(SWEPT.len());
            let keep = (keep..=self.tail.len()).find(|&at| self.tail.is_char_boundary(at)).unwrap_or(self.tail.len());
            self.tail.drain(..keep);
            Ok(())
        }
    }
    let mut search = Search { tail: String::new(), found: false };
    let _ = write!(search, "{query}");
    search.found
}

/// The beginning of a statement.
#[derive(Default)]
struct Beginning(String);

impl Beginning {
    const LENGTH: usize = 2_000;

    fn is_full(&self) -> bool {
        self.0.len() >= Self::LENGTH
    }
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.is_full() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The write in a statement, if it is one.
fn unswept(shown: &str) -> Option<Unswept> {
    // As Diesel shows several inserts on SQLite.
    let statement = shown.trim_start_matches("BEGIN;\n").trim();
    let statement = statement.split(" -- binds: ").next().unwrap_or_default().trim().to_owned();
    let words: Vec<&str> = statement.split_whitespace().take(6).collect();
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let after = |word: &str| upper.iter().position(|other| other == word).and_then(|at| words.get(at + 1));
    let (table, wrapper) = match upper.first()?.as_str() {
        "UPDATE" => (words.get(1)?, "sweeper.update_and_sweep(…)"),
        "DELETE" => (after("FROM")?, "sweeper.delete_and_sweep(…)"),
        "INSERT" => (after("INTO")?, "sweeper.insert_and_sweep(…)"),
        "REPLACE" => (after("INTO")?, "sweeper.update_and_sweep(…) and insert_and_sweep(…)"),
        _ => return None,
    };
    let name = table.split('(').next().unwrap_or(table).trim_end_matches([',', ';']);
    let parts = name.split('.').map(|part| unquote(part).unwrap_or_else(|| part.to_owned()));
    Some(Unswept { table: parts.collect::<Vec<_>>().join("."), wrapper, statement })
}

impl Instrumentation for Watcher {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match &event {
            InstrumentationEvent::StartQuery { query, .. } => self.look(query),
            InstrumentationEvent::BeginTransaction { depth, .. } => match BEGINNING.get() {
                Some(identity) => self.identity = Some(identity),
                None if depth.get() == 1 => self.identity = None,
                None => self.savepoint(depth.get(), Savepoint::Begin),
            },
            InstrumentationEvent::CommitTransaction { depth, .. } => self.savepoint(depth.get(), Savepoint::Release),
            InstrumentationEvent::RollbackTransaction { depth, .. } => self.savepoint(depth.get(), Savepoint::Rollback),
            _ => {}
        }
        if let Some(yours) = &mut self.yours {
            yours.on_connection_event(event);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("chained", &self.yours.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(statement: &str) -> Option<(String, &'static str)> {
        unswept(statement).map(|write| (write.table, write.wrapper))
    }

    #[test]
    fn writes_are_told_from_their_first_words() {
        let update = told(r#"UPDATE "blog"."comment" SET "a" = $1 -- binds: [7]"#).expect("a write");
        assert_eq!(update, ("blog.comment".to_owned(), "sweeper.update_and_sweep(…)"));
        assert_eq!(told("DELETE  FROM `comment` WHERE 1").expect("a write").0, "comment");
        assert_eq!(told(r#"DELETE FROM "comment" -- binds: []"#).expect("a write").0, "comment");
        assert_eq!(told("insert into comment(a) values (1)").expect("a write").0, "comment");
        assert_eq!(told("INSERT OR IGNORE INTO `comment` (`a`) VALUES (?)").expect("a write").0, "comment");
        assert_eq!(told("BEGIN;\nINSERT INTO `comment` (`a`) VALUES (?) -- binds: [1]\nCOMMIT;").expect("a write").0, "comment");
        assert_eq!(told("REPLACE INTO `comment` (`a`) VALUES (?)").expect("a write").0, "comment");
        for nothing in ["SELECT 1 FROM comment", "BEGIN", "SAVEPOINT s", "", "UPDATE", "CREATE TABLE comment (id INT)"] {
            assert_eq!(told(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_mark_of_a_wrapper_is_found_at_the_end_of_a_long_statement() {
        let long = format!("INSERT INTO t VALUES ({}){SWEPT} -- binds: []", "?, ".repeat(5_000));
        assert!(shows_end(&long));
        assert!(!shows_end(&long.replace(SWEPT, "")));
    }
}
