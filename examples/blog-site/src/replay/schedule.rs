//! Who writes what when: every story gets its real number of votes and comments, all stories at the same time.

use fastrand::Rng;

use crate::made_up;
use crate::site::Write;
use crate::stories::Story;

/// One thing to write. Comments are not known by their ids yet: `nth` chooses among those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    VoteOnArticle,
    VoteOnComment { nth: u32 },
    Comment { replies_to: Option<u32> },
}

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The story's position.
    pub story: usize,
    first: usize,
    count: usize,
    seed: u64,
}

/// All transactions, in the order in which writers take them.
#[derive(Debug)]
pub struct Schedule {
    actions: Vec<Action>,
    steps: Vec<Step>,
}

impl Schedule {
    /// Schedules all votes and comments of these stories; the same seed makes the same schedule.
    pub fn new(stories: &[Story], seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut actions = Vec::new();
        let mut of_story: Vec<Vec<Step>> = Vec::with_capacity(stories.len());
        for (position, story) in stories.iter().enumerate() {
            let first = actions.len();
            plan(story, &mut rng, &mut actions);
            of_story.push(cut(position, first..actions.len(), &mut rng));
        }
        // Any story may be next, but each story's steps keep their order: comments before the votes on them.
        let mut turns: Vec<usize> = of_story.iter().enumerate().flat_map(|(story, steps)| steps.iter().map(move |_| story)).collect();
        rng.shuffle(&mut turns);
        let mut left: Vec<_> = of_story.into_iter().map(Vec::into_iter).collect();
        let steps = turns.into_iter().filter_map(|story| left[story].next()).collect();
        Self { actions, steps }
    }

    /// How many single writes there are.
    pub fn writes(&self) -> usize {
        self.actions.len()
    }

    /// The transaction at this position.
    pub fn step(&self, position: usize) -> Option<Step> {
        self.steps.get(position).copied()
    }

    /// What a step writes, given the comments that the story has now. A vote on a comment becomes one on the article if there
    /// is no comment yet, because another writer is still at it.
    pub fn writes_of(&self, step: Step, comments: &[i64]) -> Vec<Write> {
        let mut rng = Rng::with_seed(step.seed);
        let choose = |nth: u32| comments.get(nth as usize % comments.len().max(1)).copied();
        let write = |action: &Action| match *action {
            Action::Comment { replies_to } => {
                Write::Comment { parent: replies_to.and_then(choose), author: made_up::name(&mut rng), text: made_up::text(&mut rng) }
            }
            Action::VoteOnComment { nth } => match choose(nth) {
                Some(comment) => Write::VoteOnComment { comment, voter: made_up::name(&mut rng) },
                None => Write::VoteOnArticle { voter: made_up::name(&mut rng) },
            },
            Action::VoteOnArticle => Write::VoteOnArticle { voter: made_up::name(&mut rng) },
        };
        self.actions[step.first..step.first + step.count].iter().map(write).collect()
    }
}

/// A story's votes and comments in a random order that begins with a comment if any is voted for.
fn plan(story: &Story, rng: &mut Rng, actions: &mut Vec<Action>) {
    let first = actions.len();
    // A third of the votes go to comments, if there are any.
    let on_comments = if story.comments > 0 { story.points / 3 } else { 0 };
    actions.extend((on_comments..story.points).map(|_| Action::VoteOnArticle));
    actions.extend((0..on_comments).map(|_| Action::VoteOnComment { nth: rng.u32(..) }));
    actions.extend((0..story.comments).map(|_| Action::Comment { replies_to: (rng.u8(..5) < 2).then(|| rng.u32(..)) }));
    let planned = &mut actions[first..];
    rng.shuffle(planned);
    if let Some(position) = planned.iter().position(|action| matches!(action, Action::Comment { .. })) {
        planned.swap(0, position);
    }
}

/// Cuts a story's actions into transactions: mostly single ones, some of two or three.
fn cut(story: usize, actions: std::ops::Range<usize>, rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::with_capacity(actions.len());
    let mut first = actions.start;
    while first < actions.end {
        let count = [1, 1, 2, 3][rng.usize(..4)].min(actions.end - first);
        steps.push(Step { story, first, count, seed: rng.u64(..) });
        first += count;
    }
    steps
}

/// Chooses what readers read: popular stories more often, by their points.
#[derive(Debug)]
pub struct Popularity {
    sums: Vec<u64>,
}

impl Popularity {
    /// Every story is read, also those without points.
    pub fn new(stories: &[Story]) -> Self {
        let mut sum = 0;
        let sums = stories.iter().map(|story| {
            sum += u64::from(story.points) + 1;
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The position of a story.
    pub fn choose(&self, rng: &mut Rng) -> usize {
        let at = rng.u64(..self.sums.last().copied().unwrap_or(1).max(1));
        self.sums.partition_point(|sum| *sum <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_gets_its_votes_and_comments() {
        let stories = made_up::stories(30, 1);
        let schedule = Schedule::new(&stories, 9);
        let mut written = vec![(0, 0); stories.len()];
        let mut comments: Vec<Vec<i64>> = vec![Vec::new(); stories.len()];
        let (mut position, mut on_comments, mut replies, mut id) = (0, 0, 0, 0);
        while let Some(step) = schedule.step(position) {
            position += 1;
            for write in schedule.writes_of(step, &comments[step.story].clone()) {
                let (points, count) = &mut written[step.story];
                match write {
                    Write::VoteOnArticle { .. } => *points += 1,
                    Write::VoteOnComment { comment, .. } => {
                        assert!(comments[step.story].contains(&comment));
                        *points += 1;
                        on_comments += 1;
                    }
                    Write::Comment { parent, .. } => {
                        replies += u32::from(parent.is_some());
                        *count += 1;
                        id += 1;
                        comments[step.story].push(id);
                    }
                }
            }
        }
        let expected: Vec<_> = stories.iter().map(|story| (story.points, story.comments)).collect();
        assert_eq!(written, expected);
        assert_eq!(schedule.writes() as u32, expected.iter().map(|(points, comments)| points + comments).sum::<u32>());
        assert!(on_comments > 0 && replies > 0);
    }

    #[test]
    fn the_seed_decides() {
        let stories = made_up::stories(30, 1);
        let steps = |seed| Schedule::new(&stories, seed).steps;
        assert_eq!(steps(1), steps(1));
        assert_ne!(steps(1), steps(2));
    }

    #[test]
    fn popular_stories_are_read_more_often_and_all_are_read() {
        let mut stories = made_up::stories(3, 1);
        for (story, points) in stories.iter_mut().zip([0, 98, 0]) {
            story.points = points;
        }
        let (popularity, mut rng) = (Popularity::new(&stories), Rng::with_seed(1));
        let mut read = [0; 3];
        for _ in 0..10_000 {
            read[popularity.choose(&mut rng)] += 1;
        }
        assert!(read[1] > 9_500 && read[0] > 30 && read[2] > 30, "{read:?}");
    }
}
