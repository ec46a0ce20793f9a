//! A fragment inside another, on another node: what seeds have found, as small as it gets.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cachesweeper_core::face::Face;
use cachesweeper_core::store::router::Router;
use cachesweeper_core::{Outcome, RecordKey};
use cachesweeper_simulation::Profile;
use cachesweeper_simulation::model::Kind;
use cachesweeper_simulation::process::Process;
use cachesweeper_simulation::profile::Knobs;
use cachesweeper_simulation::world::{Link, World};
use tokio::task::LocalSet;

/// Two nodes, a writer and a reader, an article on one node and its section on the other.
struct Stage {
    world: Arc<World>,
    writer: Process,
    reader: Process,
    inner: RecordKey,
    outer: RecordKey,
    /// What the inner fragment shows when it is rendered.
    value: Cell<u64>,
}

const INNER_NODE: usize = 1;

impl Stage {
    async fn new() -> Self {
        let profile = Profile::named("calm").expect("it is in the list");
        let mut knobs = Knobs::new(profile, &mut fastrand::Rng::with_seed(1));
        (knobs.nodes, knobs.processes, knobs.stamped, knobs.max_skew) = (2, 2, false, 50);
        (knobs.hold, knobs.plain_hold, knobs.store_timeout, knobs.retry, knobs.ttl) = (500, 500, 300, 100, 3600);
        let world = World::new(profile.clone(), knobs, 1, false);
        let router = Router::new(&["cache0:11211".into(), "cache1:11211".into()]);
        let on =
            |kind: Kind, node| (1..).map(|id| kind.record(id)).find(|record| router.node(record) == node).expect("nodes share records");
        let (inner, outer) = (on(Kind::Article, INNER_NODE), on(Kind::Section, 1 - INNER_NODE));
        let (writer, reader) = (Process::start(&world, 0), Process::start(&world, 1));
        let stage = Self { world, writer, reader, inner, outer, value: Cell::new(1) };
        // The quarantine of both nodes passes.
        for _ in 0..3 {
            stage.show().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(stage.show().await, (1, Outcome::Hit));
        stage
    }

    /// The outer fragment, as the reader shows it.
    async fn show(&self) -> (u64, Outcome) {
        let sweeper = &self.reader.sweeper;
        let render = async || {
            let inner = sweeper.fragment(&self.inner, "inner").get_or_render(async || Ok::<_, Infallible>(self.value.get().to_string()));
            inner.await
        };
        let shown = sweeper.fragment(&self.outer, "outer").get_or_render(render).await;
        let Ok(shown) = shown;
        (shown.parse().expect("a number was rendered"), shown.outcome())
    }

    /// Sets the writer's link to the inner fragment's node.
    fn link(&self, link: Link) {
        self.world.state().links[0][INNER_NODE] = link;
    }

    fn records(&self) -> [RecordKey; 2] {
        [self.inner.clone(), self.outer.clone()]
    }
}

fn play<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("it needs nothing of the system"), scene)
}

/// Runs `write` while its messages to the inner fragment's node are held up, has the outer fragment rendered meanwhile, and
/// says what is shown when the write has been acknowledged.
async fn shown_after(stage: &Stage, write: impl Future<Output = ()>) -> u64 {
    stage.value.set(2);
    stage.link(Link::Silent);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stage.show().await;
        stage.show().await;
        stage.link(Link::Up);
    };
    tokio::join!(write, meanwhile);
    stage.show().await.0
}

#[test]
fn an_invalidation_of_both_does_not_leave_the_old_one_inside_the_new() {
    play(async {
        let stage = Stage::new().await;
        let shown = shown_after(&stage, async { stage.writer.sweeper.invalidate_records(&stage.records()).await }).await;
        assert_eq!(shown, 2);
    });
}

#[test]
fn nor_does_the_release_of_a_hold_that_is_over() {
    play(async {
        let stage = Stage::new().await;
        let mark = stage.writer.sweeper.mark(&stage.records()).await.expect("the policy is to proceed");
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Stored anew after the hold, before the commit.
        stage.show().await;
        let shown = shown_after(&stage, async { stage.writer.sweeper.release(&mark).await }).await;
        assert_eq!(shown, 2);
    });
}

#[test]
fn what_could_not_be_marked_takes_its_whole_sweep_with_it_when_it_is_delivered() {
    play(async {
        let stage = Stage::new().await;
        stage.link(Link::Refused);
        let mark = stage.writer.sweeper.mark(&stage.records()).await.expect("the policy is to proceed");
        assert!(mark.has_failed());
        stage.value.set(2);
        stage.writer.sweeper.release(&mark).await;
        // The promise is suspended for the inner record: rendered anew, the outer fragment shows the old one.
        assert_eq!(stage.show().await, (1, Outcome::Miss));
        stage.link(Link::Up);
        while stage.writer.owes(&[]) || !stage.writer.sweeper.shared().leftovers().owed.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stage.show().await.0, 2);
    });
}
