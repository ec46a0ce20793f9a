//! Stories from a CSV file, with errors that name the file, the line and the column.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};
use csv::{ByteRecord, ReaderBuilder};

/// The columns that a file must have, in any order; others are ignored.
pub const COLUMNS: [&str; 7] = ["id", "title", "url", "num_points", "num_comments", "author", "created_at"];

/// How `created_at` is written: `8/4/2016 11:52`, in UTC.
const TIME_FORMAT: &str = "%m/%d/%Y %H:%M";

/// One story, with the numbers of votes and comments that a replay gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Its id, which becomes the article's.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// What it links to; none for questions and other texts.
    pub url: Option<String>,
    /// How many votes it has, on the article and its comments together.
    pub points: u32,
    /// How many comments it has.
    pub comments: u32,
    /// Who submitted it.
    pub author: String,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
}

/// A file cannot be imported.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct ImportError {
    /// The file.
    pub path: PathBuf,
    /// The line of the record, if it is one record's fault.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a file of stories.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It has no header with all columns.
    #[error("missing in the header: {missing}. The first line must name {}", COLUMNS.join(", "))]
    Columns {
        /// The columns that are missing.
        missing: String,
    },
    /// A record has more or fewer fields than the header.
    #[error("this record has {found} fields, the header has {expected}")]
    Fields {
        /// How many it has.
        found: u64,
        /// How many it should have.
        expected: u64,
    },
    /// A field is not UTF-8.
    #[error("the column {column} is not UTF-8")]
    NotUtf8 {
        /// The column.
        column: &'static str,
    },
    /// A field is not what its column holds.
    #[error("{value:?} in the column {column} is no {expected}")]
    Value {
        /// The column.
        column: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Two records have the same id.
    #[error("the id {0} occurs a second time")]
    Twice(i64),
    /// A record is too long to be a story's; a quotation mark that is never closed makes one.
    #[error("this record has more than {LONGEST} bytes; is a quotation mark not closed?")]
    TooLong,
    /// Anything else that is wrong with the CSV.
    #[error("{0}")]
    Csv(csv::Error),
}

/// Reads a file of stories; at most `limit` of them.
///
/// # Errors
///
/// [`ImportError`], with the line where it makes sense.
pub fn read_file(path: &Path, limit: Option<usize>) -> Result<Vec<Story>, ImportError> {
    let fail = |(line, problem)| ImportError { path: path.to_owned(), line, problem };
    let file = File::open(path).map_err(|error| fail((None, error.into())))?;
    read(BufReader::new(file), limit).map_err(fail)
}

/// A problem, and the line of the record that has it.
pub type Located = (Option<u64>, Problem);

/// Bytes that one record may have. Only whole records are kept, so this bounds what a broken file costs.
const LONGEST: u64 = 1 << 20;

/// Hands out at most `left` bytes, then fails. The allowance is renewed for every record.
struct Allowance<'a, R> {
    source: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Allowance<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left.get() == 0 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

/// Reads stories; at most `limit` of them.
///
/// # Errors
///
/// A [`Problem`], with the line where it makes sense.
pub fn read(source: impl Read, limit: Option<usize>) -> Result<Vec<Story>, Located> {
    let left = Cell::new(LONGEST);
    let mut reader = ReaderBuilder::new().from_reader(Allowance { source, left: &left });
    let header = reader.byte_headers().map_err(|error| csv_error(error, Some(1)))?.clone();
    // Spreadsheets begin UTF-8 files with a byte order mark.
    let name = |field: &[u8]| field.strip_prefix("\u{feff}".as_bytes()).unwrap_or(field).trim_ascii().to_owned();
    let names: Vec<Vec<u8>> = header.iter().map(name).collect();
    let position = |column: &&str| names.iter().position(|name| name == column.as_bytes());
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|column| position(column).is_none()).collect();
    if !missing.is_empty() {
        return Err((Some(1), Problem::Columns { missing: missing.join(", ") }));
    }
    let positions: Vec<usize> = COLUMNS.iter().filter_map(position).collect();

    let (mut stories, mut seen) = (Vec::new(), HashSet::new());
    let mut record = ByteRecord::new();
    while limit.is_none_or(|limit| stories.len() < limit) {
        left.set(LONGEST);
        let begins = reader.position().line();
        if !reader.read_byte_record(&mut record).map_err(|error| csv_error(error, Some(begins)))? {
            break;
        }
        let line = record.position().map(csv::Position::line);
        let story = Fields { record: &record, positions: &positions }.story().map_err(|problem| (line, problem))?;
        if !seen.insert(story.id) {
            return Err((line, Problem::Twice(story.id)));
        }
        stories.push(story);
    }
    Ok(stories)
}

/// `begins` is the line at which the record begins that was being read.
fn csv_error(error: csv::Error, begins: Option<u64>) -> Located {
    let line = error.position().map(csv::Position::line);
    let problem = match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => return (begins, Problem::TooLong),
        csv::ErrorKind::Io(error) => Problem::Io(error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Problem::Fields { found: len, expected: expected_len },
        kind => Problem::Csv(std::io::Error::other(format!("{kind:?}")).into()),
    };
    (line, problem)
}

/// What an error message can show of a field.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One record, by column.
struct Fields<'a> {
    record: &'a ByteRecord,
    positions: &'a [usize],
}

impl<'a> Fields<'a> {
    fn text(&self, column: usize) -> Result<&'a str, Problem> {
        let field = self.positions.get(column).and_then(|&position| self.record.get(position)).unwrap_or_default();
        std::str::from_utf8(field).map(str::trim).map_err(|_| Problem::NotUtf8 { column: COLUMNS[column] })
    }

    fn parsed<T>(&self, column: usize, expected: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Problem> {
        let text = self.text(column)?;
        parse(text).ok_or_else(|| Problem::Value { column: COLUMNS[column], value: shortened(text), expected })
    }

    fn story(&self) -> Result<Story, Problem> {
        const NUMBER: &str = "whole number";
        Ok(Story {
            id: self.parsed(0, NUMBER, |text| text.parse().ok())?,
            title: self.parsed(1, "title: it is empty", |text| (!text.is_empty()).then(|| text.to_owned()))?,
            url: Some(self.text(2)?).filter(|url| !url.is_empty()).map(str::to_owned),
            points: self.parsed(3, "whole number from 0", |text| text.parse().ok())?,
            comments: self.parsed(4, "whole number from 0", |text| text.parse().ok())?,
            author: self.text(5)?.to_owned(),
            created_at: self.parsed(6, "time like 8/4/2016 11:52", |text| {
                NaiveDateTime::parse_from_str(text, TIME_FORMAT).ok().map(|time| time.and_utc())
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "id,title,url,num_points,num_comments,author,created_at\n";

    fn message(text: impl AsRef<[u8]>) -> String {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        let message = read_file(file.path(), None).expect_err("must not be imported").to_string();
        message.replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn stories_are_read_in_any_order_of_columns() {
        let text = "\u{feff}title,id,extra,created_at,author,num_comments,num_points,url\r\n\
                    \"A \"\"quoted\"\", title\",7,x,8/4/2016 11:52,ann,2,3,\r\n";
        let stories = read(text.as_bytes(), None).expect("valid");
        assert_eq!(stories.len(), 1);
        let story = &stories[0];
        assert_eq!((story.id, story.title.as_str(), story.url.as_deref()), (7, r#"A "quoted", title"#, None));
        assert_eq!((story.points, story.comments, story.author.as_str()), (3, 2, "ann"));
        assert_eq!(story.created_at.to_rfc3339(), "2016-08-04T11:52:00+00:00");
    }

    #[test]
    fn the_limit_is_kept() {
        let text = format!("{HEADER}1,a,,0,0,x,8/4/2016 11:52\n2,b,,0,0,x,8/4/2016 11:52\nnot a story\n");
        assert_eq!(read(text.as_bytes(), Some(2)).expect("two are valid").len(), 2);
        assert_eq!(read(text.as_bytes(), Some(0)).expect("none is read").len(), 0);
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        let row = |row: &str| format!("{HEADER}1,a,,0,0,x,8/4/2016 11:52\n{row}\n");
        assert_eq!(
            message("id,title,url,num_points,author\n"),
            "FILE, line 1: missing in the header: num_comments, created_at. The first line must name id, title, url, num_points, \
             num_comments, author, created_at"
        );
        assert_eq!(message(""), message("\n"));
        assert_eq!(
            message(row("2,b,,many,0,x,8/4/2016 11:52")),
            r#"FILE, line 3: "many" in the column num_points is no whole number from 0"#
        );
        assert_eq!(
            message(row("2,b,,0,-1,x,8/4/2016 11:52")),
            r#"FILE, line 3: "-1" in the column num_comments is no whole number from 0"#
        );
        assert_eq!(
            message(row("2,b,,0,0,x,13/13/2016")),
            r#"FILE, line 3: "13/13/2016" in the column created_at is no time like 8/4/2016 11:52"#
        );
        assert_eq!(message(row("2,b,,0,0")), "FILE, line 3: this record has 5 fields, the header has 7");
        assert_eq!(message(row("1,b,,0,0,x,8/4/2016 11:52")), "FILE, line 3: the id 1 occurs a second time");
        let mut bytes = row("2,b").into_bytes();
        bytes.truncate(bytes.len() - 1);
        bytes.extend(b"\xff,,0,0,x,8/4/2016 11:52\n");
        assert_eq!(message(bytes), "FILE, line 3: the column title is not UTF-8");
    }

    #[test]
    fn an_endless_record_is_refused_in_bounded_memory() {
        let row = format!("{HEADER}1,a,,0,0,x,8/4/2016 11:52\n2,\"");
        let endless = row.as_bytes().chain(std::io::repeat(b'x'));
        let (line, problem) = read(endless, None).expect_err("it never ends");
        assert_eq!(
            (line, problem.to_string().as_str()),
            (Some(3), "this record has more than 1048576 bytes; is a quotation mark not closed?")
        );
        let (line, problem) = read(std::io::repeat(b'x'), None).expect_err("it never ends");
        assert!(matches!((line, problem), (Some(1), Problem::TooLong)));
        let many =
            format!("{HEADER}{}", (0..40_000).map(|id| format!("{id},{},,0,0,x,8/4/2016 11:52\n", "y".repeat(50))).collect::<String>());
        assert_eq!(read(many.as_bytes(), None).expect("each is short").len(), 40_000);
        let wide = format!("{HEADER}{}", format_args!("{},a,,0,0,x,8/4/2016 11:52\n", "9".repeat(100_000)));
        let shown = message(wide);
        assert!(shown.len() < 200 && shown.contains("999…"), "{shown}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_file(Path::new("no/such.csv"), None).expect_err("there is none");
        assert!(error.to_string().starts_with("no/such.csv: "), "{error}");
    }
}
