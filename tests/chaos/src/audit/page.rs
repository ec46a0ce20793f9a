//! What a page shows, as the auditor reads it.

use std::collections::HashMap;

/// The rows on a page, with their versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) articles: Vec<(i64, i64)>,
    /// Comments, and the versions of their replies.
    pub(super) comments: HashMap<i64, (i64, Option<i64>)>,
}

impl Page {
    /// `None` if it is no page of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut page = Self::default();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["a", id, version] => page.articles.push((id.parse().ok()?, version.parse().ok()?)),
                ["c", id, version, "-"] => drop(page.comments.insert(id.parse().ok()?, (version.parse().ok()?, None))),
                ["c", id, version, reply] => {
                    page.comments.insert(id.parse().ok()?, (version.parse().ok()?, Some(reply.parse().ok()?)));
                }
                // A comment that is gone is not there.
                ["x", id] => drop(id.parse::<i64>().ok()?),
                _ => return None,
            }
        }
        Some(page)
    }
}
