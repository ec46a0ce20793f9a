//! Reads the statements that Diesel makes: which columns an UPDATE sets, where its condition begins.
//!
//! Diesel's statements keep their parts to themselves, so they are told from the SQL that Diesel renders. That is regular:
//! keywords in capitals between single spaces, identifiers in quotes. What is not understood is refused by the caller.

use crate::sql::Dialect;

/// A statement, cut into its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Anatomy<'s> {
    Insert(Insert<'s>),
    Update(Update<'s>),
    Delete(Delete<'s>),
}

/// `<head> (<columns>) VALUES (<rows>) <conflict> RETURNING <returning>`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Insert<'s> {
    /// The columns listed, without quotes. Empty for `DEFAULT VALUES`.
    pub(crate) columns: Vec<String>,
    /// The expressions of each row; `None` if the rows come from a query.
    pub(crate) rows: Option<Vec<Vec<&'s str>>>,
    pub(crate) conflict: Option<Conflict<'s>>,
    /// Everything before RETURNING.
    pub(crate) body: &'s str,
    pub(crate) returning: Option<&'s str>,
}

/// What an upsert does with a row that is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflict<'s> {
    /// The columns of the target, without quotes; `None` for a constraint's name, and for MySQL, which looks at every key.
    pub(crate) target: Option<Vec<String>>,
    /// `DO UPDATE SET …`; empty for `DO NOTHING`.
    pub(crate) assignments: Vec<Assignment<'s>>,
    /// Where the assignments end in [`Insert::body`].
    pub(crate) assignments_end: usize,
}

/// `UPDATE <table> SET <assignments> WHERE <condition> RETURNING <returning>`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Update<'s> {
    /// `UPDATE <table> SET `
    pub(crate) head: &'s str,
    pub(crate) assignments: Vec<Assignment<'s>>,
    pub(crate) condition: Option<&'s str>,
    pub(crate) returning: Option<&'s str>,
}

/// `DELETE FROM <table> WHERE <condition> RETURNING <returning>`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delete<'s> {
    /// `DELETE FROM <table>`
    pub(crate) head: &'s str,
    pub(crate) condition: Option<&'s str>,
    pub(crate) returning: Option<&'s str>,
}

/// `"column" = expression`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment<'s> {
    pub(crate) column: String,
    pub(crate) expression: &'s str,
}

impl<'s> Anatomy<'s> {
    pub(crate) fn of(dialect: Dialect, sql: &'s str) -> Option<Self> {
        let sql = sql.trim();
        if sql.starts_with("UPDATE ") {
            Some(Self::Update(Update::of(dialect, sql)?))
        } else if sql.starts_with("DELETE ") {
            Some(Self::Delete(Delete::of(dialect, sql)?))
        } else if sql.starts_with("INSERT ") {
            Some(Self::Insert(Insert::of(dialect, sql)?))
        } else {
            None
        }
    }
}

impl<'s> Update<'s> {
    fn of(dialect: Dialect, sql: &'s str) -> Option<Self> {
        let (body, returning) = cut(dialect, sql, " RETURNING ");
        let (head, rest) = split_after(dialect, body, " SET ")?;
        // An UPDATE … FROM changes rows that its own condition does not tell.
        if find(dialect, rest, " FROM ").is_some() {
            return None;
        }
        let (assignments, condition) = cut(dialect, rest, " WHERE ");
        Some(Self { head, assignments: read_assignments(dialect, assignments)?, condition, returning })
    }
}

impl<'s> Delete<'s> {
    fn of(dialect: Dialect, sql: &'s str) -> Option<Self> {
        let (body, returning) = cut(dialect, sql, " RETURNING ");
        let (head, condition) = cut(dialect, body, " WHERE ");
        if find(dialect, head, " USING ").is_some() {
            return None;
        }
        Some(Self { head: head.trim_end(), condition, returning })
    }
}

impl<'s> Insert<'s> {
    fn of(dialect: Dialect, sql: &'s str) -> Option<Self> {
        let (body, returning) = cut(dialect, sql, " RETURNING ");
        let conflict = ["ON CONFLICT", "ON DUPLICATE KEY"].into_iter().find_map(|words| find(dialect, body, &format!(" {words}")));
        let main = &body[..conflict.unwrap_or(body.len())];
        let conflict = match conflict {
            Some(at) => Some(Conflict::of(dialect, body, at)?),
            None => None,
        };
        if main.trim_end().ends_with(" DEFAULT VALUES") {
            return Some(Self { columns: Vec::new(), rows: Some(vec![Vec::new()]), conflict, body, returning });
        }
        let open = open_parenthesis(dialect, main)?;
        let (columns, rest) = parenthesised(dialect, &main[open..])?;
        let columns = split(dialect, columns, b',').into_iter().map(unquote).collect::<Option<Vec<_>>>()?;
        let Some(values) = rest.trim_start().strip_prefix("VALUES ") else {
            return Some(Self { columns, rows: None, conflict, body, returning });
        };
        let mut rows = Vec::new();
        for row in split(dialect, values, b',') {
            let (row, after) = parenthesised(dialect, row.trim())?;
            if !after.trim().is_empty() {
                return None;
            }
            let row = split(dialect, row, b',');
            if row.len() != columns.len() {
                return None;
            }
            rows.push(row);
        }
        Some(Self { columns, rows: Some(rows), conflict, body, returning })
    }
}

impl<'s> Conflict<'s> {
    fn of(dialect: Dialect, body: &'s str, at: usize) -> Option<Self> {
        let clause = body[at..].trim_start();
        if clause.starts_with("ON DUPLICATE KEY") {
            return Some(Self { target: None, assignments: Vec::new(), assignments_end: body.len() });
        }
        let rest = clause.strip_prefix("ON CONFLICT")?.trim_start();
        let target = match rest.starts_with('(') {
            true => split(dialect, parenthesised(dialect, rest)?.0, b',').into_iter().map(unquote).collect(),
            false => None,
        };
        let Some((_, set)) = split_after(dialect, rest, " DO UPDATE SET ") else {
            return Some(Self { target, assignments: Vec::new(), assignments_end: body.len() });
        };
        let (assignments, condition) = cut(dialect, set, " WHERE ");
        let after = condition.map_or(0, |condition| condition.len() + " WHERE ".len());
        Some(Self { target, assignments: read_assignments(dialect, assignments)?, assignments_end: body.len() - after })
    }
}

/// The first opening parenthesis outside of quotes.
fn open_parenthesis(dialect: Dialect, sql: &str) -> Option<usize> {
    outside_quotes(dialect, sql).find(|(_, byte)| *byte == b'(').map(|(at, _)| at)
}

fn read_assignments(dialect: Dialect, sql: &str) -> Option<Vec<Assignment<'_>>> {
    let read = |assignment| {
        let (column, expression) = split_after(dialect, assignment, " = ")?;
        Some(Assignment { column: unquote(column.strip_suffix(" = ")?)?, expression })
    };
    split(dialect, sql, b',').into_iter().map(read).collect()
}

/// What is before and after the first `words` at the top level.
fn cut<'s>(dialect: Dialect, sql: &'s str, words: &str) -> (&'s str, Option<&'s str>) {
    match find(dialect, sql, words) {
        Some(at) => (&sql[..at], Some(&sql[at + words.len()..])),
        None => (sql, None),
    }
}

/// As [`cut`], with the words kept on the first part.
fn split_after<'s>(dialect: Dialect, sql: &'s str, words: &str) -> Option<(&'s str, &'s str)> {
    find(dialect, sql, words).map(|at| sql.split_at(at + words.len()))
}

/// The inside of the parentheses that `sql` begins with, and what comes after them.
fn parenthesised(dialect: Dialect, sql: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, byte) in outside_quotes(dialect, sql) {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some((sql[..at].strip_prefix('(')?, &sql[at + 1..])),
            b')' => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Splits at the top level. Nothing makes no parts.
fn split(dialect: Dialect, sql: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_i32, 0);
    for (at, byte) in outside_quotes(dialect, sql) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            byte if byte == separator && depth == 0 => {
                parts.push(sql[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    let last = sql[begin..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    parts
}

/// The parts of a qualified name, without their quotes.
pub(crate) fn parts(name: &str) -> Option<Vec<String>> {
    split(Dialect::Sqlite, name, b'.').into_iter().map(unquote).collect()
}

/// A name without its quotes; the last part of a qualified one.
pub(crate) fn unquote(name: &str) -> Option<String> {
    // Names have no backslashes that mean anything.
    let name = split(Dialect::Sqlite, name.trim(), b'.').pop()?;
    let quote = name.chars().next().filter(|quote| matches!(quote, '"' | '`'))?;
    let inner = name.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
}

/// The first place of these words outside of quotes and parentheses. The words begin with a space.
fn find(dialect: Dialect, sql: &str, words: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in outside_quotes(dialect, sql) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b' ' if depth == 0 && sql[at..].starts_with(words) => return Some(at),
            _ => {}
        }
    }
    None
}

/// How many values an expression binds. On PostgreSQL `?` is an operator.
pub(crate) fn placeholders(dialect: Dialect, sql: &str) -> usize {
    let numbered = |at: usize| sql.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    outside_quotes(dialect, sql)
        .filter(|(at, byte)| if dialect == Dialect::Postgres { *byte == b'$' && numbered(*at) } else { *byte == b'?' })
        .count()
}

/// The bytes of SQL that are not inside quotes. A doubled quote closes and opens again. A backslash takes the next byte with it
/// in MySQL's texts, and in PostgreSQL's `E'…'`.
fn outside_quotes(dialect: Dialect, sql: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    struct Quote {
        byte: u8,
        backslashes: bool,
    }
    let (mut quote, mut escaped, mut before) = (None::<Quote>, false, b' ');
    sql.bytes().enumerate().filter(move |&(_, byte)| {
        let Some(open) = &quote else {
            let opens = matches!(byte, b'\'' | b'"' | b'`');
            if opens {
                let backslashes = match dialect {
                    Dialect::MySql => byte != b'`',
                    Dialect::Postgres => byte == b'\'' && matches!(before, b'E' | b'e'),
                    Dialect::Sqlite => false,
                };
                quote = Some(Quote { byte, backslashes });
            }
            before = byte;
            return !opens;
        };
        if escaped {
            escaped = false;
        } else if byte == b'\\' && open.backslashes {
            escaped = true;
        } else if byte == open.byte {
            quote = None;
            before = byte;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Backticks are MySQL's, numbers PostgreSQL's.
    fn of(sql: &str) -> Option<Anatomy<'_>> {
        Anatomy::of(if sql.contains('`') { Dialect::MySql } else { Dialect::Postgres }, sql)
    }

    fn update(sql: &str) -> Option<Update<'_>> {
        match of(sql)? {
            Anatomy::Update(update) => Some(update),
            other => panic!("{other:?}"),
        }
    }

    fn insert(sql: &str) -> Option<Insert<'_>> {
        match of(sql)? {
            Anatomy::Insert(insert) => Some(insert),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_is_cut_at_its_own_keywords_only() {
        let sql = r#"UPDATE "c" SET "a" = $1, "b" = (SELECT x FROM y WHERE z = $2) WHERE (("c"."id" > $3) OR "w" = 'a WHERE, b') RETURNING "c"."id", ' RETURNING '"#;
        let update = update(sql).expect("understood");
        assert_eq!(update.head, r#"UPDATE "c" SET "#);
        let columns: Vec<_> = update.assignments.iter().map(|assignment| (assignment.column.as_str(), assignment.expression)).collect();
        assert_eq!(columns, [("a", "$1"), ("b", "(SELECT x FROM y WHERE z = $2)")]);
        assert_eq!(update.condition, Some(r#"(("c"."id" > $3) OR "w" = 'a WHERE, b')"#));
        assert_eq!(update.returning, Some(r#""c"."id", ' RETURNING '"#));
    }

    #[test]
    fn rows_that_a_statement_does_not_tell_are_not_guessed() {
        assert_eq!(update(r#"UPDATE "c" SET "a" = $1 FROM "d" WHERE "d"."id" = $2"#), None);
        assert_eq!(of(r#"DELETE FROM "c" USING "d" WHERE TRUE"#), None);
        assert_eq!(of("REPLACE INTO `c` (`a`) VALUES (?)"), None);
        assert_eq!(of("WITH x AS (SELECT 1) UPDATE c SET a = 1"), None);
    }

    #[test]
    fn deletes_with_and_without_a_condition() {
        let with = of("DELETE  FROM `c` WHERE (`c`.`id` = ?)").expect("understood");
        assert_eq!(with, Anatomy::Delete(Delete { head: "DELETE  FROM `c`", condition: Some("(`c`.`id` = ?)"), returning: None }));
        let without = of("DELETE  FROM `c`").expect("understood");
        assert_eq!(without, Anatomy::Delete(Delete { head: "DELETE  FROM `c`", condition: None, returning: None }));
    }

    #[test]
    fn rows_of_an_insert() {
        let sql = "INSERT INTO `c` (`a`, `b``x`) VALUES (?, DEFAULT), (concat(?, ','), '(')";
        let parts = insert(sql).expect("understood");
        assert_eq!(parts.columns, ["a", "b`x"]);
        assert_eq!(parts.rows, Some(vec![vec!["?", "DEFAULT"], vec!["concat(?, ',')", "'('"]]));
        assert_eq!((parts.conflict, parts.returning, parts.body), (None, None, sql));
        let nothing = insert("INSERT INTO `c` () VALUES ()").expect("understood");
        assert_eq!((nothing.columns.len(), nothing.rows), (0, Some(vec![vec![]])));
        let defaults = insert(r#"INSERT INTO "c" DEFAULT VALUES"#).expect("understood");
        assert_eq!((defaults.columns.len(), defaults.rows), (0, Some(vec![vec![]])));
        let query = insert(r#"INSERT INTO "c" ("a") SELECT "x" FROM "y" WHERE ("z" IN (1, 2))"#).expect("understood");
        assert_eq!((query.columns, query.rows), (vec!["a".to_owned()], None));
    }

    #[test]
    fn upserts() {
        let sql = r#"INSERT INTO "s"."c" ("id", "a") VALUES ($1, $2) ON CONFLICT ("id") DO UPDATE SET "a" = excluded."a", "b" = $3 WHERE ("c"."x" = $4) RETURNING "id""#;
        let parts = insert(sql).expect("understood");
        let conflict = parts.conflict.expect("an upsert");
        assert_eq!(conflict.target, Some(vec!["id".to_owned()]));
        let columns: Vec<_> = conflict.assignments.iter().map(|assignment| assignment.column.as_str()).collect();
        assert_eq!(columns, ["a", "b"]);
        assert_eq!(&parts.body[conflict.assignments_end..], r#" WHERE ("c"."x" = $4)"#);
        let nothing = insert(r#"INSERT INTO "c" ("a") VALUES ($1) ON CONFLICT DO NOTHING"#).expect("understood").conflict;
        assert!(nothing.expect("an upsert").assignments.is_empty());
        let named = insert(r#"INSERT INTO "c" ("a") VALUES ($1) ON CONFLICT ON CONSTRAINT "k" DO UPDATE SET "a" = $2"#);
        assert_eq!(named.and_then(|parts| parts.conflict).expect("an upsert").target, None);
        let mysql = insert("INSERT INTO `c` (`a`) VALUES (?) ON DUPLICATE KEY UPDATE `a` = ?").expect("understood").conflict;
        assert_eq!(mysql.expect("an upsert").target, None);
    }

    #[test]
    fn placeholders_outside_of_quotes_count() {
        assert_eq!(placeholders(Dialect::Postgres, r#"$1 + $12 - '$3' || "a$4" || $$ ? '\' || $5"#), 3);
        assert_eq!(placeholders(Dialect::Postgres, r"E'\'$1' || $2"), 1);
        assert_eq!(placeholders(Dialect::MySql, r"? + '?' + `?` + 'it\'s ?' + ?"), 2);
        assert_eq!(placeholders(Dialect::Sqlite, r"? || 'C:\' || ? || 'it''s ?'"), 2);
    }
}
