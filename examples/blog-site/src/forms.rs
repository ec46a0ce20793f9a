//! What visitors send: forms that work without JavaScript, and the way back to the page they were on.

use axum::http::HeaderMap;
use axum::http::header::REFERER;
use serde::Deserialize;

/// The longest comment, in characters.
const LONGEST_TEXT: usize = 10_000;
/// The longest name, in characters.
const LONGEST_NAME: usize = 60;

/// A new comment.
#[derive(Debug, Deserialize)]
pub(crate) struct NewComment {
    #[serde(default)]
    author: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    parent: String,
}

/// A comment that can be saved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) parent: Option<i64>,
}

impl NewComment {
    /// Checks what a browser would have checked too.
    pub(crate) fn check(self) -> Result<Checked, &'static str> {
        let (author, text, parent) = (self.author.trim(), self.text.trim(), self.parent.trim());
        if author.is_empty() || text.is_empty() {
            return Err("A comment needs a text and your name.");
        }
        if author.chars().count() > LONGEST_NAME || text.chars().count() > LONGEST_TEXT {
            return Err("A comment may have up to 10,000 characters, and a name up to 60.");
        }
        // PostgreSQL takes no NUL in a text.
        if author.contains('\0') || text.contains('\0') {
            return Err("A comment must be text.");
        }
        let parent = match parent {
            "" => None,
            id => Some(id.parse().map_err(|_| "There is no such comment to reply to.")?),
        };
        Ok(Checked { author: author.to_owned(), text: text.replace("\r\n", "\n"), parent })
    }
}

/// Where to go after a form: the page it was on, as its overlay was, at the place that has changed.
///
/// Forms are inside of fragments, which are the same with and without the overlay, so they cannot say it: the browser does.
/// Only the front page and the article's own are gone back to, whatever the header says.
pub(crate) fn way_back(headers: &HeaderMap, article: i64, anchor: &str) -> String {
    let referer = headers.get(REFERER).and_then(|referer| referer.to_str().ok()).unwrap_or_default();
    let (_, address) = referer.split_once("://").unwrap_or_default();
    let (_, address) = address.split_once('/').unwrap_or_default();
    let (path, query) = address.split('#').next().unwrap_or_default().split_once('?').unwrap_or((address, ""));
    let parts = || query.split('&');
    let overlay = parts().any(|part| part == "sweep=show");
    let page = parts().find_map(|part| part.strip_prefix("page=")?.parse::<u64>().ok());
    let from_front = path.is_empty() && !referer.is_empty();
    let mut back = match (from_front, page) {
        (true, Some(page)) => format!("/?page={page}"),
        (true, None) => "/".to_owned(),
        (false, _) => format!("/articles/{article}"),
    };
    if overlay {
        back = crate::overlay::shown_at(&back);
    }
    format!("{back}#{anchor}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn back(referer: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(REFERER, HeaderValue::from_static(referer));
        way_back(&headers, 5, "x")
    }

    #[test]
    fn the_way_back_is_the_page_before() {
        assert_eq!(way_back(&HeaderMap::new(), 5, "x"), "/articles/5#x");
        assert_eq!(back("http://a:1/articles/5"), "/articles/5#x");
        assert_eq!(back("http://a:1/articles/5?sweep=show#y"), "/articles/5?sweep=show#x");
        assert_eq!(back("http://a:1/"), "/#x");
        assert_eq!(back("http://a:1/?page=3&sweep=show"), "/?page=3&sweep=show#x");
        assert_eq!(back("http://evil.example/login?next=http://evil.example"), "/articles/5#x");
        assert_eq!(back("http://a:1/?page=x"), "/#x");
    }

    #[test]
    fn comments_are_checked() {
        let new =
            |author: &str, text: &str, parent: &str| NewComment { author: author.into(), text: text.into(), parent: parent.into() }.check();
        assert_eq!(new(" ann ", "a\r\nb", ""), Ok(Checked { author: "ann".into(), text: "a\nb".into(), parent: None }));
        assert_eq!(new("ann", "a", "7").map(|checked| checked.parent), Ok(Some(7)));
        assert!(new("", "a", "").is_err() && new("ann", "\n", "").is_err() && new("ann", "a", "x").is_err());
        assert!(new(&"x".repeat(61), "a", "").is_err() && new("ann", &"x".repeat(10_001), "").is_err());
    }
}
