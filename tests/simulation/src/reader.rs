//! Readers: they show fragments and pages of every shape, and tell the history what was shown.

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;

use cachesweeper_core::{Dependencies, Dependency, Fragment, Outcome, RecordKey, Rendered, Row, TagError, TagSettings, Tags};
use fastrand::Rng;

use crate::database::{now, read};
use crate::history::{Moment, Read, Shown};
use crate::model::{Fact, Id, Kind, Record};
use crate::process::Process;
use crate::profile::ms;

/// A render failed by itself, as an application's may.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure;

/// Longer than any run, in microseconds.
const ANY_LAG: u64 = 1 << 40;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// How a fragment is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// With its row in hand.
    pub by_row: bool,
    /// What is inside are fragments of their own.
    pub nested: bool,
    /// Milliseconds of `serve_stale`.
    pub lag: Option<u64>,
    /// Seconds.
    pub ttl: Option<u64>,
    /// With a part more in its key.
    pub vary: bool,
    /// Renders fail now and then.
    pub fails: bool,
}

/// One reader's task.
pub struct Reader {
    process: Process,
    rng: Rng,
}

impl Reader {
    /// A reader of this process.
    pub fn new(process: Process, rng: Rng) -> Self {
        Self { process, rng }
    }

    /// Reads until the run is over.
    pub async fn run(mut self) {
        let world = self.process.world.clone();
        while !world.state().over {
            tokio::time::sleep(ms(self.rng.u64(1..=world.knobs.reads_every))).await;
            world.step(self.process.life).await;
            let patience = self.rng.u64(..60);
            // Some clients go away.
            if self.rng.u8(..30) == 0 {
                let _ = tokio::time::timeout(ms(patience), self.read_any()).await;
            } else {
                self.read_any().await;
            }
        }
    }

    fn ask(&mut self) -> Ask {
        let few = |rng: &mut Rng| rng.u8(..8) == 0;
        Ask {
            by_row: self.rng.bool(),
            nested: self.rng.bool(),
            lag: few(&mut self.rng).then(|| self.rng.u64(100..=2000)),
            ttl: few(&mut self.rng).then(|| self.rng.u64(1..=3)),
            vary: few(&mut self.rng),
            fails: true,
        }
    }

    async fn read_any(&mut self) {
        let knobs = self.process.world.knobs.clone();
        let (article, section) = (self.rng.u32(1..=knobs.articles), self.rng.u32(1..=knobs.sections));
        let comment = self.rng.u32(1..=knobs.comments);
        let ask = self.ask();
        match self.rng.u8(..20) {
            0..=3 => drop(self.show(Kind::Comment, comment, ask).await),
            4..=9 => drop(self.show(Kind::Article, article, ask).await),
            10..=12 => drop(self.show(Kind::Section, section, ask).await),
            13 => self.latest(ask).await,
            14 => self.pair(article, section, ask).await,
            15..=16 => self.comments_of(article, ask).await,
            _ => self.page(article).await,
        }
    }

    /// Shows one fragment, and notes what it shows. How it was served.
    pub async fn show(&self, kind: Kind, id: Id, ask: Ask) -> Option<Outcome> {
        let began = now(&self.process.world);
        let rendered = self.fragment_of(kind, id, None, ask).await.ok()?;
        let outcome = rendered.outcome();
        let label = format!("{}:{id}{}{}", kind.name(), if ask.by_row { " by row" } else { "" }, if ask.nested { ", nested" } else { "" });
        self.note(label, began, &self.inside(&rendered, ask.lag, Fact::Own(kind, id), self.needs_row(kind, ask)), outcome);
        Some(outcome)
    }

    fn prepare<'a>(&'a self, on: impl Dependencies, name: &str, ask: Ask) -> Fragment<'a> {
        let mut fragment = self.process.sweeper.fragment(on, name);
        if let Some(lag) = ask.lag {
            fragment = fragment.serve_stale(ms(lag));
        }
        if let Some(ttl) = ask.ttl {
            fragment = fragment.ttl(ms(ttl * 1000));
        }
        if ask.vary { fragment.vary("de") } else { fragment }
    }

    /// Whether it is asked for with its row in hand: a timestamp's fragments always are.
    fn needs_row(&self, kind: Kind, ask: Ask) -> bool {
        ask.by_row || (kind == Kind::Article && self.process.world.knobs.stamped)
    }

    async fn load(&self, key: (Kind, Id)) -> Option<Record> {
        read(&self.process.world, self.process.life, |tables| tables.row(key).cloned()).await
    }

    /// A fragment of a row: its own version, the list of its children, and the children's fragments, or their versions.
    fn fragment_of(&self, kind: Kind, id: Id, in_hand: Option<Record>, ask: Ask) -> Boxed<'_, Result<Rendered, Failure>> {
        Box::pin(async move {
            let world = &self.process.world;
            let by_row = in_hand.is_some() || self.needs_row(kind, ask);
            let row = match in_hand {
                Some(row) => Some(row),
                None if by_row => self.load((kind, id)).await,
                None => None,
            };
            let mut early = None;
            if world.profile.loads_early {
                early = Some(self.body(kind, id, row.as_ref(), Ask { nested: false, ..ask }).await?);
                world.pause(60).await;
            }
            let name = format!("{}{}", kind.name(), if ask.nested { "-nested" } else { "" });
            let render = async || match early {
                Some(text) => Ok(text),
                None => self.body(kind, id, row.as_ref(), ask).await,
            };
            match &row {
                Some(row) => self.prepare(row, &name, ask).get_or_render(render).await,
                None => self.prepare(kind.record(id), &name, ask).get_or_render(render).await,
            }
        })
    }

    /// What a fragment of a row shows.
    async fn body(&self, kind: Kind, id: Id, row: Option<&Record>, ask: Ask) -> Result<String, Failure> {
        let world = &self.process.world;
        let row = match row {
            Some(row) => Some(row.clone()),
            None => self.load((kind, id)).await,
        };
        world.pause(if world.chance(50) { 50 } else { 4 }).await;
        if ask.fails && world.chance(10) {
            return Err(Failure);
        }
        let mut text = format!("{}={}", Fact::Own(kind, id), row.map_or(0, |row| row.version));
        let Some(child) = kind.child() else { return Ok(text) };
        let (version, rows) = read(world, self.process.life, |tables| tables.children((kind, id))).await;
        let _ = write!(text, " {}={version}", Fact::Children(kind, id));
        let inner = Ask { ttl: None, ..ask };
        if !ask.nested {
            for row in rows {
                let _ = write!(text, " {}", self.body_at_once(&row).await);
            }
        } else if child == Kind::Comment {
            let pieces = self.process.sweeper.fragments(&rows, "comment");
            let pieces = pieces.get_or_render(async |missing| {
                world.pause(3).await;
                Ok::<_, Failure>(missing.iter().map(|row| own(row)).collect())
            });
            for (row, piece) in rows.iter().zip(pieces.await?) {
                let _ = write!(text, " {}", self.inside(&piece, None, Fact::Own(row.key.0, row.key.1), true));
            }
        } else {
            for row in rows {
                let (kind, id) = row.key;
                let in_hand = ask.by_row.then_some(row);
                let piece = self.fragment_of(kind, id, in_hand, inner).await?;
                let _ = write!(text, " {}", self.inside(&piece, ask.lag, Fact::Own(kind, id), self.needs_row(kind, ask)));
            }
        }
        Ok(text)
    }

    /// A row and all below it, without fragments inside.
    fn body_at_once<'a>(&'a self, row: &'a Record) -> Boxed<'a, String> {
        Box::pin(async move {
            let mut text = own(row);
            if row.key.0.child().is_some() {
                let (version, rows) = read(&self.process.world, self.process.life, |tables| tables.children(row.key)).await;
                let _ = write!(text, " {}={version}", Fact::Children(row.key.0, row.key.1));
                for row in &rows {
                    let _ = write!(text, " {}", self.body_at_once(row).await);
                }
            }
            text
        })
    }

    /// The text of a fragment as it goes into another, or to the caller: what may lag says so. Checks that it is the right one.
    /// With `in_hand`, the row itself was in hand when it was rendered, and so is as old as that copy.
    fn inside(&self, rendered: &Rendered, lag: Option<u64>, first: Fact, in_hand: bool) -> String {
        let (text, outcome) = (rendered.as_str(), rendered.outcome());
        let world = &self.process.world;
        if !text.starts_with(&format!("{first}=")) {
            world.problem(format!("a fragment of {first} showed {text:?} ({outcome:?})"));
        }
        let stored = matches!(outcome, Outcome::Hit | Outcome::Shared | Outcome::Miss | Outcome::Stale);
        if stored && text.contains('<') {
            world.problem(format!("a fragment with an older one inside was stored: {text:?} ({outcome:?})"));
        }
        *world.state().history.outcomes.entry(word(outcome)).or_default() += 1;
        match outcome {
            Outcome::Stale => {
                let lag = lag.unwrap_or(0) * 1000;
                match text.split_once(' ') {
                    _ if !in_hand => format!("<{lag} {text} >"),
                    Some((own, rest)) => format!("<{ANY_LAG} {own} > <{lag} {rest} >"),
                    None => format!("<{ANY_LAG} {text} >"),
                }
            }
            _ => text.to_owned(),
        }
    }

    fn note(&self, label: String, began: Moment, text: &str, outcome: Outcome) {
        let world = &self.process.world;
        let (mut lags, mut section, mut article) = (vec![0], None, None);
        let mut shown = Vec::new();
        for part in text.split(' ') {
            if let Some(lag) = part.strip_prefix('<') {
                lags.push(lag.parse().unwrap_or(0));
            } else if part == ">" {
                lags.pop();
            } else if let Some((fact, version)) = part.split_once('=')
                && let (Some(fact), Ok(version)) = (Fact::parse(fact), version.parse())
            {
                // Parents are shown before what is below them.
                match fact {
                    Fact::Own(Kind::Section, id) => (section, article) = (Some(id), None),
                    Fact::Own(Kind::Article, id) => article = Some(id),
                    _ => {}
                }
                shown.push(Shown { fact, version, article, section, lag: lags.iter().copied().max().unwrap_or(0) });
            } else {
                world.problem(format!("{label} showed {part:?}, which is nothing"));
            }
        }
        let ended = now(world);
        let outcome = format!("{outcome:?}");
        world.trace(|| format!("p{} shows {label} ({outcome}), begun at {} ms: {text}", self.process.life, began.at / 1000));
        world.state().history.reads.push(Read { life: self.process.life, label, began, ended, outcome, shown });
    }

    /// All comments, by the version of their whole table.
    async fn latest(&self, ask: Ask) {
        let world = &self.process.world;
        let began = now(world);
        let fragment = self.prepare(RecordKey::collection("comment"), "latest", ask);
        let rendered = fragment.get_or_render(async || {
            let (version, rows) = read(world, self.process.life, |tables| tables.all_comments()).await;
            world.pause(4).await;
            let rows = rows.iter().map(|row| format!(" {}", own(row)));
            Ok::<_, Failure>(format!("{}={version}{}", Fact::AllComments, rows.collect::<String>()))
        });
        if let Ok(rendered) = rendered.await {
            self.note("all comments".into(), began, &self.inside(&rendered, ask.lag, Fact::AllComments, false), rendered.outcome());
        }
    }

    /// One fragment of two records, which may live on two nodes.
    async fn pair(&self, article: Id, section: Id, ask: Ask) {
        let world = &self.process.world;
        let began = now(world);
        let row = if ask.by_row || world.knobs.stamped { self.load((Kind::Article, article)).await } else { None };
        let on: Vec<Dependency> = {
            let mut on = Vec::new();
            match &row {
                Some(row) => row.collect_into(&mut on),
                None => Kind::Article.record(article).collect_into(&mut on),
            }
            Kind::Section.record(section).collect_into(&mut on);
            on
        };
        let inner = Ask { nested: false, fails: false, ..ask };
        let rendered = self.prepare(on, "pair", ask).get_or_render(async || {
            let article = self.body(Kind::Article, article, row.as_ref(), inner).await?;
            let section = self.body(Kind::Section, section, None, inner).await?;
            Ok::<_, Failure>(format!("{article} {section}"))
        });
        if let Ok(rendered) = rendered.await {
            let text = self.inside(&rendered, ask.lag, Fact::Own(Kind::Article, article), row.is_some());
            self.note(format!("article:{article} with section:{section}"), began, &text, rendered.outcome());
        }
    }

    /// Many fragments in one lookup.
    async fn comments_of(&self, article: Id, ask: Ask) {
        let world = &self.process.world;
        let began = now(world);
        let (_, rows) = read(world, self.process.life, |tables| tables.children((Kind::Article, article))).await;
        let mut fragments = self.process.sweeper.fragments(&rows, "comment");
        if let Some(lag) = ask.lag {
            fragments = fragments.serve_stale(ms(lag));
        }
        let pieces = fragments.get_or_render(async |missing| {
            world.pause(6).await;
            if world.chance(20) { Err(Failure) } else { Ok(missing.iter().map(|row| own(row)).collect()) }
        });
        if let Ok(pieces) = pieces.await {
            for (row, piece) in rows.iter().zip(pieces) {
                let text = self.inside(&piece, ask.lag, Fact::Own(row.key.0, row.key.1), true);
                self.note(format!("comment:{} of many", row.key.1), began, &text, piece.outcome());
            }
        }
    }

    /// A page: opened, loaded, prefetched, rendered by tags, and stored.
    async fn page(&self, id: Id) {
        let world = &self.process.world;
        let began = now(world);
        let page = self.process.sweeper.page();
        let Some(article) = self.load((Kind::Article, id)).await else { return };
        let (version, rows) = read(world, self.process.life, |tables| tables.children((Kind::Article, id))).await;
        let by_key = !world.knobs.stamped && world.chance(500);
        let on = |row: &Record, by_key: bool| match by_key {
            true => Dependency { record: row.key.0.record(row.key.1), row: None },
            false => Row::dependency(row),
        };
        let prefetched = page.prefetch_many(|prefetch| {
            prefetch.fragment(on(&article, by_key), "article-tag", &[]);
            for row in &rows {
                prefetch.fragment(on(row, by_key), "comment-tag", &[]);
            }
        });
        if prefetched.await.is_err() {
            return;
        }
        let settings = |name: &str| TagSettings { name: name.into(), ttl: None, vary: Vec::new() };
        let rendered = page.render(|| {
            page.tag(vec![on(&article, by_key)], settings("article-tag"), &mut || {
                let mut text = format!("{} {}={version}", own(&article), Fact::Children(Kind::Article, id));
                for row in &rows {
                    let piece = page.tag(vec![on(row, by_key)], settings("comment-tag"), &mut || Ok(own(row)))?;
                    let _ = write!(text, " {}", self.inside(&piece, None, Fact::Own(row.key.0, row.key.1), true));
                }
                Ok(text)
            })
        });
        match rendered {
            Ok(rendered) => {
                page.finish().await;
                let text = self.inside(&rendered, None, Fact::Own(Kind::Article, id), !by_key);
                self.note(format!("page of article:{id}{}", if by_key { " by key" } else { "" }), began, &text, rendered.outcome());
            }
            Err(TagError::Body(error)) => world.problem(format!("a tag failed: {error}")),
            Err(error) => world.problem(format!("a page failed: {error}")),
        }
    }
}

fn own(row: &Record) -> String {
    format!("{}={}", Fact::Own(row.key.0, row.key.1), row.version)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "hit",
        Outcome::Shared => "shared",
        Outcome::Stale => "served stale",
        Outcome::Miss => "miss",
        Outcome::Bypass(_) => "bypass",
        _ => "unstored",
    }
}
