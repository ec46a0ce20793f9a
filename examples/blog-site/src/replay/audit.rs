//! The auditor: what had been acknowledged before a page was asked for, against what the page shows.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::counts::{Counts, Shown};

/// What is known of one story to be acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Votes on the article itself.
    pub votes: u64,
    /// Comments.
    pub comments: u64,
    /// Votes on the comments, together.
    pub comment_votes: u64,
}

#[derive(Debug, Default)]
struct Entry {
    votes: AtomicU64,
    comments: AtomicU64,
    comment_votes: AtomicU64,
}

/// Everything that has been acknowledged, by story.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    positions: HashMap<i64, usize>,
}

/// A page that shows less than had been acknowledged before it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The article's id.
    pub article: i64,
    /// What is too small.
    pub what: &'static str,
    /// What the page shows.
    pub shown: u64,
    /// What had been acknowledged.
    pub acknowledged: u64,
}

/// What the auditor says of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It shows at least what had been acknowledged.
    Fresh,
    /// It does not.
    Stale(Stale),
    /// It does not show what it must.
    Unreadable,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { article, what, shown, acknowledged } = self;
        write!(f, "article {article} showed {shown} {what} when {acknowledged} had been acknowledged")
    }
}

impl Ledger {
    /// Nothing is acknowledged yet for these articles.
    pub fn new(articles: impl IntoIterator<Item = i64>) -> Self {
        let positions: HashMap<i64, usize> = articles.into_iter().enumerate().map(|(position, id)| (id, position)).collect();
        Self { entries: positions.iter().map(|_| Entry::default()).collect(), positions }
    }

    /// Notes what a transaction has added. Only after its commit has returned.
    pub fn acknowledge(&self, article: i64, added: Known) {
        if let Some(entry) = self.entry(article) {
            entry.votes.fetch_add(added.votes, Ordering::SeqCst);
            entry.comments.fetch_add(added.comments, Ordering::SeqCst);
            entry.comment_votes.fetch_add(added.comment_votes, Ordering::SeqCst);
        }
    }

    fn entry(&self, article: i64) -> Option<&Entry> {
        self.entries.get(*self.positions.get(&article)?)
    }

    /// What is acknowledged for one article. Taken before its page is asked for.
    pub fn known(&self, article: i64) -> Known {
        self.entry(article).map(Entry::known).unwrap_or_default()
    }

    /// What is acknowledged for all. Taken before a front page is asked for: it is not known which stories it will show.
    pub fn all(&self) -> Vec<Known> {
        self.entries.iter().map(Entry::known).collect()
    }

    /// Audits the page of an article.
    pub fn audit_article(&self, article: i64, known: Known, counts: Option<&Counts>) -> Verdict {
        let Some(Counts { articles, comments, comment_votes }) = counts else { return Verdict::Unreadable };
        let [shown] = articles[..] else { return Verdict::Unreadable };
        if shown.article != article {
            return Verdict::Unreadable;
        }
        // The article's own counts are its fragment's, the comments' votes are theirs: a stale inner fragment is found too.
        let further =
            [("comments in its thread", *comments, known.comments), ("votes on its comments", *comment_votes, known.comment_votes)];
        verdict(article, own(shown, known).into_iter().chain(further))
    }

    /// Audits a front page.
    pub fn audit_front(&self, known: &[Known], counts: Option<&Counts>) -> Verdict {
        let Some(counts) = counts.filter(|counts| !counts.articles.is_empty()) else { return Verdict::Unreadable };
        for shown in &counts.articles {
            let Some(known) = self.positions.get(&shown.article).and_then(|&position| known.get(position)) else {
                return Verdict::Unreadable;
            };
            let verdict = verdict(shown.article, own(*shown, *known));
            if verdict != Verdict::Fresh {
                return verdict;
            }
        }
        Verdict::Fresh
    }
}

impl Entry {
    fn known(&self) -> Known {
        Known {
            votes: self.votes.load(Ordering::SeqCst),
            comments: self.comments.load(Ordering::SeqCst),
            comment_votes: self.comment_votes.load(Ordering::SeqCst),
        }
    }
}

type Count = (&'static str, u64, u64);

fn own(shown: Shown, known: Known) -> [Count; 2] {
    [("votes", shown.votes, known.votes), ("comments", shown.comments, known.comments)]
}

fn verdict(article: i64, counts: impl IntoIterator<Item = Count>) -> Verdict {
    let stale = counts.into_iter().find(|(_, shown, acknowledged)| shown < acknowledged);
    stale.map_or(Verdict::Fresh, |(what, shown, acknowledged)| Verdict::Stale(Stale { article, what, shown, acknowledged }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(article: i64, votes: u64, comments: u64, in_thread: u64, comment_votes: u64) -> Counts {
        Counts { articles: vec![Shown { article, votes, comments }], comments: in_thread, comment_votes }
    }

    #[test]
    fn each_count_is_audited() {
        let ledger = Ledger::new([7, 8]);
        ledger.acknowledge(8, Known { votes: 2, comments: 3, comment_votes: 4 });
        let known = ledger.known(8);
        let audit = |page: Counts| ledger.audit_article(8, known, Some(&page));
        assert_eq!(audit(page(8, 2, 3, 3, 4)), Verdict::Fresh);
        assert_eq!(audit(page(8, 9, 9, 9, 9)), Verdict::Fresh);
        for (stale, what) in [
            (page(8, 1, 3, 3, 4), "votes"),
            (page(8, 2, 2, 3, 4), "comments"),
            (page(8, 2, 3, 2, 4), "comments in its thread"),
            (page(8, 2, 3, 3, 3), "votes on its comments"),
        ] {
            let Verdict::Stale(stale) = audit(stale) else { panic!("{what} must be found") };
            assert_eq!((stale.what, stale.shown + 1), (what, stale.acknowledged));
        }
        assert_eq!(audit(page(7, 9, 9, 9, 9)), Verdict::Unreadable);
        assert_eq!(ledger.audit_article(8, known, None), Verdict::Unreadable);
    }

    #[test]
    fn what_is_acknowledged_later_does_not_count() {
        let ledger = Ledger::new([8]);
        let before = ledger.known(8);
        ledger.acknowledge(8, Known { votes: 1, ..Known::default() });
        assert_eq!(ledger.audit_article(8, before, Some(&page(8, 0, 0, 0, 0))), Verdict::Fresh);
        assert!(matches!(ledger.audit_article(8, ledger.known(8), Some(&page(8, 0, 0, 0, 0))), Verdict::Stale(_)));
    }

    #[test]
    fn front_pages_are_audited_story_by_story() {
        let ledger = Ledger::new([7, 8]);
        ledger.acknowledge(8, Known { votes: 1, ..Known::default() });
        let known = ledger.all();
        let shown = |votes| Counts {
            articles: vec![Shown { article: 7, votes: 0, comments: 0 }, Shown { article: 8, votes, comments: 0 }],
            ..Counts::default()
        };
        assert_eq!(ledger.audit_front(&known, Some(&shown(1))), Verdict::Fresh);
        assert!(matches!(ledger.audit_front(&known, Some(&shown(0))), Verdict::Stale(Stale { article: 8, .. })));
        assert_eq!(ledger.audit_front(&known, Some(&Counts::default())), Verdict::Unreadable);
    }
}
