//! The auditor must see what is stale, and nothing else.

use super::{Findings, Terms, audit};
use crate::history::{Event, Form, History, Kind, Read, Record, Trouble, Version};

/// The comment that all tests are about: at first in article 0, whose group is 0.
const COMMENT: i64 = 7;
const OP: i64 = 1;

fn terms() -> Terms {
    Terms { hold: 1_000, settled: 50_000, excuse_unmarked: true, faults: (0, 40_000) }
}

fn event(version: i64, article: Option<i64>, op: i64) -> Event {
    Event { version: (Kind::Comment, COMMENT, version), group: 0, article, op }
}

/// What the database had: the first version, and a second one that is in `article`.
fn events(article: Option<i64>) -> Vec<Event> {
    vec![event(1, Some(0), 0), event(2, article, OP)]
}

/// A write that begins at 100 and has its statements done at 200.
fn write(end: Option<Record>, died: Option<u64>) -> History {
    let begun = [Record::Begin { op: OP, at: 100 }, Record::Body { op: OP, at: 200, writes: Some(vec![(Kind::Comment, COMMENT, 2)]) }];
    History { records: begun.into_iter().chain(end).collect(), died }
}

fn end(at: u64, unmarked: bool) -> Option<Record> {
    Some(Record::End { op: OP, at, error: None, unmarked })
}

fn acknowledged() -> History {
    write(end(300, false), None)
}

/// Article 0's page at `begin`.
fn read(begin: u64, page: &str, witness: Option<Vec<Version>>) -> History {
    let (form, id, group, outcome, why) = (Form::Key, 0, 0, "hit".to_owned(), "Hit".to_owned());
    let read = Read { begin, end: begin + 10, form, id, group, outcome, why, page: page.to_owned(), witness, error: None };
    History { records: vec![Record::Read(read)], died: None }
}

fn seen() -> Option<Vec<Version>> {
    Some(vec![(Kind::Comment, COMMENT, 2)])
}

fn judge(article: Option<i64>, histories: &[History]) -> Findings {
    let rows: Vec<_> = article.map(|_| ((Kind::Comment, COMMENT, 2), article)).into_iter().collect();
    audit(terms(), histories, &events(article), &rows)
}

/// Stale by G-ack, by G-commit, and where nothing is promised.
fn stale(found: &Findings) -> [u64; 3] {
    assert_eq!(found.broken, Vec::<String>::new());
    [found.stale_ack, found.stale_commit, found.stale_unclaimed]
}

#[test]
fn what_was_acknowledged_before_must_be_shown() {
    assert_eq!(stale(&judge(Some(0), &[acknowledged(), read(301, "c 7 1 -\n", None)])), [1, 0, 0]);
    assert_eq!(stale(&judge(Some(0), &[acknowledged(), read(301, "c 7 2 -\n", None)])), [0, 0, 0]);
    assert_eq!(stale(&judge(Some(0), &[acknowledged(), read(300, "c 7 1 -\n", None)])), [0, 0, 0]);
}

#[test]
fn what_the_database_had_before_must_be_shown_even_if_its_writer_is_dead() {
    let dead = || write(None, Some(900));
    assert_eq!(stale(&judge(Some(0), &[dead(), read(301, "c 7 1 -\n", seen())])), [0, 1, 0]);
    assert_eq!(stale(&judge(Some(0), &[dead(), read(301, "c 7 1 -\n", None)])), [0, 0, 0]);
    assert_eq!(stale(&judge(Some(0), &[dead(), read(301, "c 7 2 -\n", seen())])), [0, 0, 0]);
}

#[test]
fn a_comment_that_was_moved_away_must_not_be_shown_as_it_was() {
    assert_eq!(stale(&judge(Some(1), &[acknowledged(), read(301, "c 7 1 -\n", None)])), [1, 0, 0]);
    assert_eq!(stale(&judge(Some(1), &[acknowledged(), read(301, "", None)])), [0, 0, 0]);
    assert_eq!(stale(&judge(None, &[acknowledged(), read(301, "", None)])), [0, 0, 0]);
}

#[test]
fn a_comment_that_is_there_must_be_shown() {
    assert_eq!(stale(&judge(Some(0), &[acknowledged(), read(301, "", None)])), [1, 0, 0]);
    // It may be gone since a write that begins before the read has ended.
    assert_eq!(stale(&judge(Some(1), &[acknowledged(), read(95, "", None)])), [0, 0, 0]);
    assert_eq!(stale(&judge(Some(1), &[acknowledged(), read(80, "", None)])), [1, 0, 0]);
}

#[test]
fn a_write_that_was_not_marked_is_excused_until_it_is_delivered() {
    let unmarked = || write(end(300, true), None);
    let found = judge(Some(0), &[unmarked(), read(301, "c 7 1 -\n", seen())]);
    assert_eq!(stale(&found), [0, 0, 1]);
    assert_eq!(found.excuses.keys().collect::<Vec<_>>(), [&"not marked"]);
    assert_eq!(stale(&judge(Some(0), &[unmarked(), read(50_001, "c 7 1 -\n", None)])), [1, 0, 0]);
}

#[test]
fn a_commit_after_the_hold_is_promised_from_its_acknowledgement_on() {
    let late = || write(end(1_201, false), None);
    assert_eq!(stale(&judge(Some(0), &[late(), read(700, "c 7 1 -\n", seen())])), [0, 0, 1]);
    assert_eq!(stale(&judge(Some(0), &[late(), read(1_202, "c 7 1 -\n", None)])), [1, 0, 0]);
}

#[test]
fn what_a_save_outside_of_transactions_wrote_is_told_by_the_log() {
    let alone = |end: Option<Record>, died| {
        let begun = [Record::Begin { op: OP, at: 100 }, Record::Body { op: OP, at: 200, writes: None }];
        History { records: begun.into_iter().chain(end).collect(), died }
    };
    let found = judge(Some(0), &[alone(end(300, false), None), read(301, "c 7 1 -\n", None)]);
    assert_eq!((stale(&found), found.alone), ([1, 0, 0], 1));
    assert_eq!(stale(&judge(Some(0), &[alone(None, Some(900)), read(301, "c 7 1 -\n", seen())])), [0, 1, 0]);
    assert_eq!(stale(&judge(Some(0), &[alone(None, Some(1_201)), read(301, "c 7 1 -\n", seen())])), [0, 0, 1]);
    let first = [event(1, Some(0), 0)];
    let found = audit(terms(), &[alone(end(300, false), None)], &first, &[((Kind::Comment, COMMENT, 1), Some(0))]);
    assert!(found.broken.iter().any(|text| text.contains("acknowledged and not committed")), "{:?}", found.broken);
}

#[test]
fn what_cannot_be_is_told() {
    let broken = |found: Findings, words: &str| assert!(found.broken.iter().any(|text| text.contains(words)), "{:?}", found.broken);
    broken(judge(Some(0), &[acknowledged(), read(1, "c 7 3 -\n", None)]), "never committed");
    broken(judge(Some(0), &[acknowledged(), read(1, "<p>", None)]), "cannot be read");
    broken(judge(Some(0), &[]), "nobody has begun");
    let refused =
        |text: &str| write(Some(Record::End { op: OP, at: 300, error: Some((Trouble::Refused, text.to_owned())), unmarked: false }), None);
    broken(judge(Some(0), &[refused("store node a: down")]), "committed all the same");
    let first = [event(1, Some(0), 0)];
    let rows = |version| vec![((Kind::Comment, COMMENT, version), Some(0))];
    broken(audit(terms(), &[acknowledged()], &first, &rows(1)), "acknowledged and not committed");
    broken(audit(terms(), &[], &first, &rows(2)), "in the database");
    broken(audit(terms(), &[refused("no")], &first, &rows(1)), "does not say why");
}

#[test]
fn the_longest_bypass_ends_with_the_next_read_that_is_none() {
    let reads = [(10, "bypass"), (20, "bypass"), (50, "hit"), (60, "bypass"), (70, "miss")];
    let histories: Vec<History> = reads
        .iter()
        .map(|(begin, outcome)| {
            let mut history = read(*begin, "c 7 1 -\n", None);
            if let [Record::Read(read)] = &mut history.records[..] {
                (*outcome).clone_into(&mut read.outcome);
            }
            history
        })
        .collect();
    let found = audit(terms(), &histories, &events(Some(0))[..1], &[((Kind::Comment, COMMENT, 1), Some(0))]);
    assert!((found.longest_bypass - 40e-9).abs() < 1e-12, "{}", found.longest_bypass);
}
