//! Reads the counts that a page shows out of its HTML, and out of nothing else.

/// An article as a page shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The article's id.
    pub article: i64,
    /// Votes on the article itself, by its own count.
    pub votes: u64,
    /// Comments, by the article's count.
    pub comments: u64,
}

/// All counts of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The articles on it.
    pub articles: Vec<Shown>,
    /// How many comments are there.
    pub comments: u64,
    /// The sum of the comments' votes.
    pub comment_votes: u64,
}

/// The counts of a page; `None` if an element lacks one, or says something that is no number.
pub fn counts(html: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut rest = html;
    // Text and attributes are escaped, so every `<` opens a tag and the next `>` ends it.
    while let Some(open) = rest.find('<') {
        rest = &rest[open + 1..];
        let end = rest.find('>')?;
        let tag = &rest[..end];
        rest = &rest[end..];
        // With its quote: the name alone may be in an attribute that holds a title.
        if !tag.contains(" data-votes=\"") {
            continue;
        }
        let votes = number(tag, " data-votes=\"")?;
        if let Some(article) = number(tag, " data-article=\"") {
            let article = i64::try_from(article).ok()?;
            counts.articles.push(Shown { article, votes, comments: number(tag, " data-comments=\"")? });
        } else {
            number(tag, " data-comment=\"")?;
            counts.comments += 1;
            counts.comment_votes += votes;
        }
    }
    Some(counts)
}

fn number(tag: &str, attribute: &str) -> Option<u64> {
    let (_, value) = tag.split_once(attribute)?;
    value.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::views::{CommentView, Piece, StoryView, Templates};

    #[test]
    fn the_templates_show_what_is_read() {
        let templates = Templates::new().expect("they compile");
        let created_at = DateTime::UNIX_EPOCH;
        let fake = r#"" data-votes="9" data-comment="9"><p data-comment="8" data-votes="1">"#;
        let comment = |id, votes| {
            let view = CommentView { id, article: 5, author: fake, text: fake, created_at, votes };
            templates.comment(&view).expect("it renders")
        };
        let record = cachesweeper_core::RecordKey::new("comment", 1);
        let (one, two) = (comment(1, 4), comment(2, 3));
        let thread = [(0, Piece { record: &record, html: &one }), (1, Piece { record: &record, html: &two })];
        let story = StoryView { id: 5, title: fake, url: None, author: fake, created_at, votes: 11, comments: 2 };
        let html = templates.article(&story, &thread).expect("it renders");
        let shown = Shown { article: 5, votes: 11, comments: 2 };
        assert_eq!(counts(&html), Some(Counts { articles: vec![shown], comments: 2, comment_votes: 7 }));
        assert_eq!(counts(&templates.story(&story).expect("it renders")).map(|counts| counts.articles), Some(vec![shown]));
    }

    #[test]
    fn what_is_no_count_is_an_error() {
        assert_eq!(counts("<p>none</p>"), Some(Counts::default()));
        assert_eq!(counts(r#"<p data-article="1" data-votes="x" data-comments="1">"#), None);
        assert_eq!(counts(r#"<p data-article="1" data-votes="1">"#), None);
        assert_eq!(counts(r#"<p data-votes="1">"#), None);
        assert_eq!(counts("<p"), None);
    }
}
