//! Timestamps as versions: columns that are too coarse, and writers that race.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cachesweeper_tests::{Backend, Writer as _, behaviours};

behaviours! {
    async fn a_column_that_keeps_whole_seconds_still_rises_with_every_write(site: &Site<impl Orm>) {
        site.write().insert_coarse(1, "a").await.expect("inserted");
        let mut last = site.orm.load_coarse(1).await;
        let mut seen = BTreeSet::from([last.changed_at]);
        for round in 0..6 {
            // The row goes back and forth between two texts: only the version tells its states apart.
            site.write().edit_coarse(&last, if round % 2 == 0 { "b" } else { "a" }).await.expect("updated");
            let edited = site.orm.load_coarse(1).await;
            assert!(edited.changed_at > last.changed_at && seen.insert(edited.changed_at), "{} twice: {seen:?}", edited.changed_at);
            site.write().insert_part(round, 1).await.expect("inserted");
            last = site.orm.load_coarse(1).await;
            assert!(last.changed_at > edited.changed_at && seen.insert(last.changed_at), "{} twice: {seen:?}", last.changed_at);
        }
        site.fill(&last).await;
        site.write().insert_part(100, 1).await.expect("inserted");
        site.is_gone("the coarse row", &site.orm.load_coarse(1).await).await;
    }

    async fn writers_that_race_on_the_same_parents_neither_deadlock_nor_repeat_a_version(site: &Site<impl Orm>) {
        let articles = [site.article("a").await, site.article("b").await];
        let versions = Mutex::new(Vec::new());
        // InnoDB's foreign keys lock the parents in the order of the inserts, so there the writers keep to one.
        let any_order = site.backend != Backend::MySql;
        site.at_once(3, async |writer| {
            for round in 0..15_usize {
                // Each writer names the parents in another order, where it can.
                let order = if any_order && (writer + round) % 2 == 1 { [1, 0] } else { [0, 1] };
                let ids = order.map(|position| articles[position].id);
                let written = site.transaction(async |txn| {
                    for id in ids {
                        txn.insert_comment(Some(id), None).await?;
                    }
                    Ok(())
                });
                written.await.unwrap_or_else(|error| panic!("writer {writer}, round {round}: {error}"));
                for id in ids {
                    let version = site.reload_article(id).await.updated_at;
                    versions.lock().expect("no panic").push((id, version));
                }
            }
        });
        let versions = versions.into_inner().expect("no panic");
        let distinct = versions.iter().collect::<BTreeSet<_>>().len();
        // A version may be read by two writers, but every commit made one.
        assert!(versions.len() == 90 && distinct > 40, "{distinct} of {}", versions.len());
    }
}
