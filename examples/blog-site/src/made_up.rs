//! Made-up stories and comments; the same seed makes the same ones.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;

use crate::stories::Story;

const NAMES: [&str; 24] = [
    "ada", "bjarke", "chidi", "dora_m", "elif", "fjord", "grantham", "hana", "ivo", "jun", "kestrel", "lowell", "mirela", "nkem", "oskar",
    "pilar", "quill", "rosalind", "sven", "tariq", "ursula", "vesna", "wick", "yuki",
];
const TOPICS: [&str; 34] = [
    "a static site generator",
    "our build server",
    "a chess engine",
    "the mail queue",
    "a tiny database",
    "an old laptop",
    "the type checker",
    "a train timetable",
    "our on-call rota",
    "a weather station",
    "the tax form",
    "a keyboard",
    "a message broker",
    "the city library",
    "a compiler pass",
    "our cache",
    "a search index",
    "the garden pump",
    "a terminal editor",
    "the payroll script",
    "a tide clock",
    "the door lock",
    "a font renderer",
    "our changelog",
    "a bread oven",
    "the spam filter",
    "a queue of one",
    "the night shift",
    "a paper map",
    "our first schema",
    "a pocket synthesizer",
    "the release train",
    "a hash table",
    "the office printer",
];
const LANGUAGES: [&str; 8] = ["Rust", "Go", "OCaml", "SQL", "Python", "C", "Zig", "Elixir"];
const SITES: [&str; 10] = [
    "https://notes.example.org",
    "https://www.example.com",
    "https://blog.example.net",
    "https://lab.example.edu",
    "https://news.example.org",
    "https://dev.example.com",
    "https://papers.example.edu",
    "https://www.example.net",
    "https://journal.example.org",
    "https://git.example.net",
];
const OPENINGS: [&str; 14] = [
    "We tried this last year and went back after a month.",
    "The part about measuring first is worth the read alone.",
    "I disagree with the conclusion, but the numbers look honest.",
    "This matches what I saw in production.",
    "Has anyone run this on a small machine?",
    "The title promises a little too much.",
    "Great write-up, and the drawings help a lot.",
    "I wish the author had said what did not work.",
    "Is there a reason not to use plain files here?",
    "Good to see somebody still cares about start-up time.",
    "My team argued about exactly this all week.",
    "I kept waiting for the catch.",
    "For once the comments in the code are better than the article.",
    "This reminds me of how we did it on paper.",
];
const MIDDLES: [&str; 14] = [
    "The slow part was never the language, it was the network.",
    "You need to keep the old format around for longer than you think.",
    "A single table with a good index would have done the same.",
    "What helped us was to delete half of the features.",
    "The trick is to make the common case boring.",
    "Nobody tests the restore, only the backup.",
    "It took two days to write and two months to trust.",
    "With fewer than a million rows none of this matters.",
    "We found the bug by reading the log, slowly, from the top.",
    "The failure mode is silent, which is the worst kind.",
    "There is a paper from the seventies that says it all.",
    "Our users noticed the difference before our dashboards did.",
    "Caching it was easy; knowing when to stop was not.",
    "It is a good default and a bad rule.",
];
const ENDINGS: [&str; 8] = [
    "Would do it again.",
    "Your mileage may vary.",
    "Happy to share the script.",
    "I would love to see the follow-up.",
    "Still worth it.",
    "Source: I wrote the first version.",
    "Or so I was told.",
    "That is the whole secret.",
];

/// Where made-up time begins: 2026-01-05 08:00 UTC.
const EPOCH: i64 = 1_767_600_000;

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A visitor's name.
pub fn name(rng: &mut Rng) -> String {
    let name = pick(rng, &NAMES);
    if rng.u8(..3) == 0 { format!("{name}{}", rng.u8(2..99)) } else { name.to_owned() }
}

/// What a comment says.
pub fn text(rng: &mut Rng) -> String {
    let mut text = pick(rng, &OPENINGS).to_owned();
    let (first, count) = (rng.usize(..MIDDLES.len()), rng.usize(..3));
    for middle in MIDDLES.iter().cycle().skip(first).step_by(5).take(count) {
        text.push(' ');
        text.push_str(middle);
    }
    if rng.bool() {
        text.push(' ');
        text.push_str(pick(rng, &ENDINGS));
    }
    text
}

fn title(rng: &mut Rng) -> String {
    let (topic, language) = (pick(rng, &TOPICS), pick(rng, &LANGUAGES));
    match rng.u8(..9) {
        0 => format!("Rewriting {topic} in {language}"),
        1 => format!("What {topic} taught me about patience"),
        2 => format!("How we made {topic} {} times faster", rng.u8(2..60)),
        3 => format!("Show: {topic} in {} lines of {language}", rng.u16(80..900)),
        4 => format!("The quiet life of {topic}"),
        5 => format!("{} that fits in your head", capital(topic)),
        6 => format!("Debugging {topic} with nothing but a notebook"),
        7 => format!("Ten years of {topic}, in numbers"),
        _ => format!("Why {topic} still runs on {language}"),
    }
}

/// Stories, few of them with many points, as on any news site. Ids begin at 1, the oldest story's.
pub fn stories(count: u32, seed: u64) -> Vec<Story> {
    let mut rng = Rng::with_seed(seed);
    let mut created_at = DateTime::from_timestamp(EPOCH, 0).unwrap_or(DateTime::UNIX_EPOCH);
    let story = |id| {
        created_at += TimeDelta::minutes(rng.i64(7..90));
        let points = (6.0 / rng.f64().max(0.001).powf(0.7)) as u32;
        let title = title(&mut rng);
        let slug: String = title.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let url = (rng.u8(..8) > 0).then(|| format!("{}/{slug}", pick(&mut rng, &SITES)));
        Story { id, title, url, points, comments: points * rng.u32(1..7) / 10, author: name(&mut rng), created_at }
    };
    (1..=i64::from(count)).map(story).collect()
}

/// A comment of the demo's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeUpComment {
    /// The position of the comment it replies to.
    pub parent: Option<usize>,
    /// Who wrote it.
    pub author: String,
    /// What it says.
    pub text: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// How many votes it has.
    pub votes: u32,
}

/// An article of the demo's data, with comments and votes.
#[derive(Clone, Debug)]
pub struct MadeUpArticle {
    /// The article.
    pub story: Story,
    /// How many votes it has.
    pub votes: u32,
    /// Its comments, the oldest first.
    pub comments: Vec<MadeUpComment>,
}

/// What an empty database is filled with: a few hundred comments and votes.
pub fn demo() -> Vec<MadeUpArticle> {
    let mut rng = Rng::with_seed(7);
    let article = |mut story: Story| {
        story.points = story.points.min(rng.u32(18..45));
        story.comments = story.comments.min(rng.u32(12..26));
        let mut at = story.created_at;
        let comment = |position: usize| {
            at += TimeDelta::minutes(rng.i64(1..25));
            let parent = (position > 0 && rng.u8(..5) > 1).then(|| rng.usize(..position));
            let votes = if rng.bool() { rng.u32(0..4) } else { 0 };
            MadeUpComment { parent, author: name(&mut rng), text: text(&mut rng), created_at: at, votes }
        };
        let comments: Vec<MadeUpComment> = (0..story.comments as usize).map(comment).collect();
        MadeUpArticle { votes: story.points, comments, story }
    };
    stories(45, 4).into_iter().map(article).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        assert_eq!(stories(50, 3), stories(50, 3));
        assert_ne!(stories(50, 3), stories(50, 4));
        assert_eq!(stories(80, 3)[..50], stories(50, 3));
    }

    #[test]
    fn the_demo_has_a_few_hundred_comments_and_votes() {
        let demo = demo();
        let comments: usize = demo.iter().map(|article| article.comments.len()).sum();
        let votes: u32 = demo.iter().map(|article| article.votes + article.comments.iter().map(|comment| comment.votes).sum::<u32>()).sum();
        assert!((150..500).contains(&comments), "{comments} comments");
        assert!((300..1_000).contains(&votes), "{votes} votes");
        for article in &demo {
            for (position, comment) in article.comments.iter().enumerate() {
                assert!(comment.parent.is_none_or(|parent| parent < position));
            }
        }
    }
}
