//! Tests of the graph: what is refused, and what several ORMs of one program may tell of one table.

use super::*;

/// A model of a SeaORM program; of Diesel's with `orm` changed.
fn model(table: &str, parents: &[&str]) -> EntityInfo {
    let parents = parents.iter().map(|&parent| ParentLink { entity: parent.into(), columns: vec![format!("{parent}_id")], listed: false });
    EntityInfo {
        name: table.into(),
        orm: "SeaORM",
        model: "app::Model",
        strategy: Strategy::Counter,
        collection: false,
        skipped: Vec::new(),
        max_depth: None,
        parents: parents.collect(),
        problems: Vec::new(),
        adapter: None,
    }
}

fn diesel(table: &str, parents: &[&str]) -> EntityInfo {
    EntityInfo { orm: "Diesel", model: "app::Row", ..model(table, parents) }
}

/// The graph of these models, registered in this order.
fn graph(models: impl IntoIterator<Item = EntityInfo>) -> Result<Graph, GraphError> {
    let entity = |info: EntityInfo| -> &'static Entity {
        Box::leak(Box::new(Entity { init: || unreachable!("it is described already"), info: OnceLock::from(info) }))
    };
    Graph::new(models.into_iter().map(entity))
}

/// The graph of two models, registered in either order: the linker does not say which.
#[track_caller]
fn both_ways(models: impl Fn() -> [EntityInfo; 2]) -> [Result<Graph, GraphError>; 2] {
    [graph(models()), graph(models().into_iter().rev())]
}

#[track_caller]
fn sound(models: impl Fn() -> [EntityInfo; 2]) -> [Graph; 2] {
    both_ways(models).map(|graph| graph.expect("a sound graph"))
}

/// What the ORMs disagree about.
#[track_caller]
fn disagreement(models: impl Fn() -> [EntityInfo; 2], on: &str) -> String {
    let [problem, _] = both_ways(models).map(|graph| {
        let error = graph.expect_err("refused");
        let text = error.to_string();
        let GraphError::Disagreement { table, first, second, problem } = error else { panic!("no disagreement: {text}") };
        assert_eq!(table, on);
        assert!([first, second] == ["SeaORM", "Diesel"] || [first, second] == ["Diesel", "SeaORM"], "{first}, {second}");
        assert!(text.contains(&format!("`{on}`")) && text.contains(&problem), "{text}");
        problem
    });
    problem
}

#[test]
fn parents_without_the_derive_are_left_out_unless_they_are_listed() {
    let vote = model("vote", &["comment", "user"]);
    let sound = graph([vote, model("comment", &[])]).expect("a sound graph");
    assert_eq!(sound.table("vote").expect("registered").parents, ["comment"]);
    let listed = vec![ParentLink { entity: "coment".into(), columns: vec!["coment_id".into()], listed: true }];
    let listed = EntityInfo { parents: listed, ..model("vote", &[]) };
    let error = graph([listed, model("comment", &[])]).expect_err("refused").to_string();
    assert!(error.contains("`vote`") && error.contains("`coment`") && error.contains("did you mean `comment`?"), "{error}");
}

#[test]
fn two_models_of_one_table_are_refused() {
    let duplicate = |error: GraphError| matches!(error, GraphError::Duplicate { table, .. } if table == "comment");
    assert!(duplicate(graph([model("comment", &[]), model("comment", &[])]).expect_err("refused")));
    assert!(duplicate(graph([diesel("comment", &[]), diesel("comment", &[])]).expect_err("refused")));
    let again = EntityInfo { model: "app::Again", ..model("comment", &[]) };
    let error = graph([model("comment", &[]), diesel("comment", &[]), again]).expect_err("refused");
    let text = error.to_string();
    assert!(duplicate(error), "{text}");
    assert!(text.contains("`app::Model`") && text.contains("`app::Again`"), "the two of one ORM are named: {text}");
}

#[test]
fn a_self_referring_entity_has_a_bound_of_its_own() {
    let graph = graph([model("comment", &["comment"])]).expect("a sound graph");
    let node = graph.table("comment").expect("registered");
    assert!(node.cyclic);
    assert_eq!(node.max_depth, Graph::DEFAULT_MAX_DEPTH);
}

#[test]
fn a_cycle_of_several_entities_must_be_bounded() {
    let error = graph([model("a", &["b"]), model("b", &["a"])]).expect_err("refused").to_string();
    assert!(error.contains("`a` -> `b` -> `a`"), "{error}");
    let bounded = EntityInfo { max_depth: Some(5), ..model("b", &["a"]) };
    let graph = graph([model("a", &["b"]), bounded]).expect("a sound graph");
    assert_eq!(graph.table("a").expect("registered").max_depth, 5);
    assert!(graph.is_ancestor("b", "a") && graph.is_ancestor("a", "a"));
}

#[test]
fn a_table_of_two_orms_is_one_node() {
    #[derive(Debug)]
    struct Sea(u8);
    #[derive(Debug)]
    struct Die(u8);
    static SEA: Sea = Sea(1);
    static DIE: Die = Die(2);
    let models = || {
        let sea = EntityInfo { adapter: Some(&SEA), ..model("comment", &[]) };
        [sea, EntityInfo { adapter: Some(&DIE), ..diesel("comment", &[]) }]
    };
    for graph in sound(models) {
        assert_eq!(graph.nodes().count(), 1);
        let node = graph.table("comment").expect("registered");
        assert_eq!((node.name(), node.entities.len()), ("comment", 2));
        assert_eq!(node.adapter::<Sea>().map(|part| part.0), Some(1));
        assert_eq!(node.adapter::<Die>().map(|part| part.0), Some(2));
        assert!(node.adapter::<String>().is_none());
        assert_eq!(node.entity_of::<Sea>().map(|entity| entity.info().orm), Some("SeaORM"));
        assert_eq!(node.entity_of::<Die>().map(|entity| entity.info().orm), Some("Diesel"));
        assert!(node.entity_of::<String>().is_none());
    }
}

#[test]
fn orms_must_version_a_table_alike() {
    let problem =
        disagreement(|| [model("comment", &[]), EntityInfo { strategy: Strategy::UpdatedAt, ..diesel("comment", &[]) }], "comment");
    assert!(problem.contains("#[sweep(using"), "{problem}");
}

#[test]
fn orms_must_know_the_same_parents() {
    let with_parent = |sea: &[&str], other: &[&str]| {
        graph([model("comment", sea), diesel("comment", other), model("article", &[]), diesel("article", &[])])
    };
    for refused in [with_parent(&["article"], &[]), with_parent(&[], &["article"])] {
        let error = refused.expect_err("refused");
        assert!(matches!(&error, GraphError::Disagreement { table, .. } if table == "comment"), "{error}");
        assert!(error.to_string().contains("its parent `article`"), "{error}");
    }
    let both = with_parent(&["article"], &["article"]).expect("a sound graph");
    assert_eq!(both.table("comment").expect("registered").parents, ["article"]);
    // A parent that has no version is nobody's.
    for accepted in sound(|| [model("comment", &["user"]), diesel("comment", &[])]) {
        assert!(accepted.table("comment").expect("registered").parents.is_empty());
    }
}

#[test]
fn orms_must_know_a_parent_by_the_same_columns() {
    let twice = || {
        let mut info = model("doc", &["user", "user"]);
        info.parents[1].columns = vec!["editor_id".into()];
        info
    };
    let users = || [model("user", &[]), diesel("user", &[])];
    let error = graph([twice(), diesel("doc", &["user"])].into_iter().chain(users())).expect_err("refused").to_string();
    assert!(error.contains("its parent `user` by (editor_id)"), "{error}");
    graph([twice(), EntityInfo { orm: "Diesel", ..twice() }].into_iter().chain(users())).expect("a sound graph");
}

#[test]
fn orms_must_skip_the_same_columns() {
    let skipping = |info: EntityInfo| EntityInfo { skipped: vec!["views".into()], ..info };
    for problem in [
        disagreement(|| [skipping(model("comment", &[])), diesel("comment", &[])], "comment"),
        disagreement(|| [model("comment", &[]), skipping(diesel("comment", &[]))], "comment"),
    ] {
        assert!(problem.contains("`views`") && problem.contains("#[sweep(skip)]"), "{problem}");
    }
    sound(|| [skipping(model("comment", &[])), skipping(diesel("comment", &[]))]);
}

#[test]
fn an_orm_must_know_the_parents_of_its_own_entities() {
    let problem = disagreement(|| [diesel("vote", &["comment"]), model("comment", &[])], "comment");
    assert!(problem.contains("`vote` with Diesel") && problem.contains("Diesel's model of `comment`"), "{problem}");
    // A parent without a version is nothing to look for.
    graph([diesel("vote", &["comment"]), model("article", &[])]).expect("a sound graph");
    let known = [diesel("vote", &["comment"]), diesel("comment", &["article"]), diesel("article", &[]), model("article", &[])];
    assert!(graph(known).expect("a sound graph").is_ancestor("article", "vote"));
}

#[test]
fn a_collection_is_kept_if_either_orm_asks_for_it() {
    let collection = |info: EntityInfo| EntityInfo { collection: true, ..info };
    let kept = |[graph, back]: [Graph; 2]| [graph, back].map(|graph| graph.table("comment").expect("registered").collection);
    assert_eq!(kept(sound(|| [collection(model("comment", &[])), diesel("comment", &[])])), [true, true]);
    assert_eq!(kept(sound(|| [model("comment", &[]), collection(diesel("comment", &[]))])), [true, true]);
    assert_eq!(kept(sound(|| [model("comment", &[]), diesel("comment", &[])])), [false, false]);
}

#[test]
fn of_two_bounds_the_smaller_counts() {
    let depth = |sea: Option<u32>, other: Option<u32>, parents: &[&str]| {
        let models = || {
            let sea = EntityInfo { max_depth: sea, ..model("comment", parents) };
            [sea, EntityInfo { max_depth: other, ..diesel("comment", parents) }]
        };
        sound(models).map(|graph| graph.table("comment").expect("registered").max_depth)
    };
    for parents in [&[][..], &["comment"]] {
        assert_eq!(depth(Some(9), Some(5), parents), [5, 5]);
        assert_eq!(depth(Some(5), Some(9), parents), [5, 5]);
        assert_eq!(depth(None, Some(5), parents), [5, 5]);
        assert_eq!(depth(None, None, parents), [Graph::DEFAULT_MAX_DEPTH; 2]);
    }
}
