//! The registry: every entity that derives `CacheSweep`, and the graph of their relations.
//!
//! Users never come here: the derives register entities at link time, and [`Graph::new`] checks them when a sweeper is
//! built. The registry knows tables by name only; what an ORM needs besides is kept in [`EntityInfo::adapter`].

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use quick_cache::DefaultHashBuilder;

use crate::{RecordKey, Strategy};

pub use inventory;

/// One entity: a static that its derive makes.
pub struct Entity {
    init: fn() -> EntityInfo,
    info: OnceLock<EntityInfo>,
}

/// What is known of an [`Entity`].
pub struct EntityInfo {
    /// The table's name, with its schema if it has one: `comment`, `blog.comment`.
    pub name: String,
    /// The ORM whose derive registered it, for messages: `SeaORM`, `Diesel`.
    pub orm: &'static str,
    /// The model's path, for messages.
    pub model: &'static str,
    /// How its records are versioned.
    pub strategy: Strategy,
    /// Whether a version of the whole table is kept too.
    pub collection: bool,
    /// How many levels a tree of this entity may have (`#[sweep(max_depth = …)]`).
    pub max_depth: Option<u32>,
    /// The entities that its foreign keys point to.
    pub parents: Vec<ParentLink>,
    /// The columns that `#[sweep(skip)]` leaves out.
    pub skipped: Vec<String>,
    /// What contradicts itself in the model, as found at run time; any of it makes `build()` fail.
    pub problems: Vec<String>,
    /// The ORM's own part.
    pub adapter: Option<&'static (dyn Any + Send + Sync)>,
}

/// A relation to a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentLink {
    /// The parent's table, with its schema if it has one.
    pub entity: String,
    /// The foreign key's columns.
    pub columns: Vec<String>,
    /// Whether it was listed in `#[sweep(parents(…))]`: then it must derive `CacheSweep` too.
    pub listed: bool,
}

impl Entity {
    /// An entity that is described by `init` when it is first used.
    pub const fn new(init: fn() -> EntityInfo) -> Self {
        Self { init, info: OnceLock::new() }
    }

    /// What is known of it.
    pub fn info(&self) -> &EntityInfo {
        self.info.get_or_init(self.init)
    }

    /// Its table's name, with its schema if it has one.
    pub fn name(&self) -> &str {
        &self.info().name
    }

    /// The part of an ORM's adapter; `None` if another ORM's derive registered it.
    pub fn adapter<T: Any>(&self) -> Option<&'static T> {
        self.info().adapter?.downcast_ref()
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entity({})", self.name())
    }
}

impl PartialEq for Entity {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Entity {}

/// An entity in the registry.
#[derive(Debug)]
pub struct Registered(pub &'static Entity);

inventory::collect!(Registered);

/// Every registered entity of the program.
pub fn entities() -> impl Iterator<Item = &'static Entity> {
    inventory::iter::<Registered>().map(|registered| registered.0)
}

/// The entities do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two models of one table.
    #[error(
        "the models `{first}` and `{second}` both derive CacheSweep for the table `{table}`: their writes would be versioned twice. \
         Keep the derive on the model that the table's rows are saved with"
    )]
    Duplicate {
        /// The table.
        table: String,
        /// One model.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Two ORMs tell different things of one table.
    #[error("the table `{table}` is known to {first} and to {second}, and they disagree: {problem}")]
    Disagreement {
        /// The table.
        table: String,
        /// One ORM.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// About what, and what to do.
        problem: String,
    },
    /// A model's attributes contradict its relations or its key.
    #[error("the model `{model}`: {problem}")]
    Contradiction {
        /// The model's path.
        model: &'static str,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// A listed parent that has no version.
    #[error(
        "`{child}` lists the parent `{parent}` in #[sweep(parents(…))], but no model of the table `{parent}` derives CacheSweep. \
         Derive it there, or take the parent off the list{}",
        .nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
    )]
    UnknownParent {
        /// The child's table.
        child: String,
        /// The parent's table.
        parent: String,
        /// The registered table with the most similar name.
        nearest: Option<String>,
    },
    /// A cycle through several entities that nobody bounds.
    #[error(
        "the relations of {} form a cycle, so a sweep might climb for ever. Say #[sweep(max_depth = 32)] on one of them, or leave a relation \
         out with #[sweep(parents(…))]", .tables.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(" -> ")
    )]
    UnboundedCycle {
        /// The tables, child before parent; the first one again at the end.
        tables: Vec<String>,
    },
}

/// The relations between the registered entities, checked.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node, DefaultHashBuilder>,
}

/// An entity in the [`Graph`].
#[derive(Debug)]
pub struct Node {
    /// The entity, once for each ORM that knows it.
    pub entities: Vec<&'static Entity>,
    /// How its records are versioned.
    pub strategy: Strategy,
    /// Whether a version of the whole table is kept too.
    pub collection: bool,
    /// The tables of its parents that have versions too.
    pub parents: Vec<String>,
    /// Whether it is its own ancestor, so that climbing needs a bound.
    pub cyclic: bool,
    /// Whether its fragments also depend on [`Node::whole`]: it is cyclic, or above something that is.
    pub reads_whole: bool,
    /// How many levels are climbed through it.
    pub max_depth: u32,
    /// What is invalidated when the bound is hit.
    pub whole: RecordKey,
}

impl Node {
    /// The table's name, with its schema if it has one.
    pub fn name(&self) -> &str {
        self.entities[0].name()
    }

    /// The part of an ORM's adapter.
    pub fn adapter<T: Any>(&self) -> Option<&'static T> {
        self.entities.iter().find_map(|entity| entity.adapter())
    }

    /// The entity as the ORM of this adapter knows it.
    pub fn entity_of<T: Any>(&self) -> Option<&'static Entity> {
        self.entities.iter().copied().find(|entity| entity.adapter::<T>().is_some())
    }

    fn bound(&self) -> Option<u32> {
        self.entities.iter().filter_map(|entity| entity.info().max_depth).min()
    }

    fn disagreement(&self, with: &Entity, problem: String) -> GraphError {
        let other = self.entities.iter().find(|entity| entity.info().orm != with.info().orm).copied().unwrap_or(self.entities[0]);
        GraphError::Disagreement { table: with.name().to_owned(), first: other.info().orm, second: with.info().orm, problem }
    }

    /// Adds what another ORM tells of the same table.
    fn join(&mut self, entity: &'static Entity) -> Result<(), GraphError> {
        let info = entity.info();
        if let Some(other) = self.entities.iter().find(|other| other.info().orm == info.orm) {
            let (first, second) = (other.info().model, info.model);
            return Err(GraphError::Duplicate { table: info.name.clone(), first, second });
        }
        if self.strategy != info.strategy {
            let problem = "one versions it by a counter, the other by a column. Say the same #[sweep(using = …)] on both models".to_owned();
            return Err(self.disagreement(entity, problem));
        }
        let differs = |one: &EntityInfo, other: &EntityInfo| one.skipped.iter().find(|column| !other.skipped.contains(column)).cloned();
        let known = self.entities[0].info();
        if let Some(column) = differs(info, known).or_else(|| differs(known, info)) {
            let problem = format!(
                "only one of them skips the column `{column}`, so its writes would leave the other's fragments stale. Say #[sweep(skip)] on both models, or on none"
            );
            return Err(self.disagreement(entity, problem));
        }
        self.collection |= info.collection;
        self.entities.push(entity);
        self.max_depth = self.bound().unwrap_or(Graph::DEFAULT_MAX_DEPTH);
        Ok(())
    }
}

impl Graph {
    /// How many levels of a self-referring entity are climbed if it does not say.
    pub const DEFAULT_MAX_DEPTH: u32 = 64;

    /// The graph of all registered entities of the program.
    ///
    /// # Errors
    ///
    /// Two models of one table, a listed parent without the derive, a cycle without a bound: each names both entities. And a
    /// model that contradicts itself.
    pub fn of_program() -> Result<Self, GraphError> {
        Self::new(entities())
    }

    /// The graph of these entities.
    ///
    /// # Errors
    ///
    /// As [`Graph::of_program`].
    pub fn new(entities: impl IntoIterator<Item = &'static Entity>) -> Result<Self, GraphError> {
        let mut nodes: HashMap<String, Node, DefaultHashBuilder> = HashMap::default();
        for entity in entities {
            let info = entity.info();
            if let Some(problem) = info.problems.first() {
                return Err(GraphError::Contradiction { model: info.model, problem: problem.clone() });
            }
            if let Some(node) = nodes.get_mut(&info.name) {
                node.join(entity)?;
                continue;
            }
            let node = Node {
                entities: vec![entity],
                strategy: info.strategy,
                collection: info.collection,
                parents: Vec::new(),
                cyclic: false,
                reads_whole: false,
                max_depth: info.max_depth.unwrap_or(Self::DEFAULT_MAX_DEPTH),
                whole: RecordKey::whole(&info.name),
            };
            nodes.insert(info.name.clone(), node);
        }
        let mut graph = Self { nodes };
        graph.link()?;
        graph.check_orms()?;
        graph.check_cycles()?;
        Ok(graph)
    }

    fn link(&mut self) -> Result<(), GraphError> {
        let mut links = Vec::new();
        for (name, node) in &self.nodes {
            let mut parents: Vec<String> = Vec::new();
            for link in node.entities.iter().flat_map(|entity| &entity.info().parents) {
                if self.nodes.contains_key(&link.entity) {
                    if !parents.contains(&link.entity) {
                        parents.push(link.entity.clone());
                    }
                } else if link.listed {
                    let nearest = crate::nearest(&link.entity, self.nodes.keys().map(String::as_str));
                    return Err(GraphError::UnknownParent { child: name.clone(), parent: link.entity.clone(), nearest });
                }
            }
            links.push((name.clone(), parents));
        }
        for (name, parents) in links {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.parents = parents;
            }
        }
        Ok(())
    }

    /// Where several ORMs are in one program, each must see all that is above its own entities.
    fn check_orms(&self) -> Result<(), GraphError> {
        let mut names: Vec<&String> = self.nodes.keys().collect();
        names.sort();
        for name in names {
            let node = &self.nodes[name];
            for entity in &node.entities {
                let declared =
                    |link: &&ParentLink| entity.info().parents.iter().any(|own| own.entity == link.entity && own.columns == link.columns);
                let links = node.entities.iter().flat_map(|entity| &entity.info().parents);
                let mut links = links.filter(|link| self.nodes.contains_key(&link.entity));
                if let Some(ParentLink { entity: missing, columns, .. }) = links.find(|link| !declared(link)) {
                    let columns = columns.join(", ");
                    let problem = format!(
                        "only one of them knows its parent `{missing}` by ({columns}). Declare the relation with both, and keep it in #[sweep(parents(…))]"
                    );
                    return Err(node.disagreement(entity, problem));
                }
                for parent in &node.parents {
                    let above = &self.nodes[parent];
                    if !above.entities.iter().any(|other| other.info().orm == entity.info().orm) {
                        let (orm, other) = (entity.info().orm, above.entities[0].info().orm);
                        let problem = format!(
                            "a write to `{name}` with {orm} must find what is above `{parent}`. Derive CacheSweep on {orm}'s model of `{parent}` too"
                        );
                        return Err(GraphError::Disagreement { table: parent.clone(), first: other, second: orm, problem });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_cycles(&mut self) -> Result<(), GraphError> {
        let mut names: Vec<String> = self.nodes.keys().cloned().collect();
        names.sort();
        for name in &names {
            let Some(path) = self.way_back(name) else { continue };
            let bounded = path.len() == 1 || path.iter().any(|table| self.nodes[table].bound().is_some());
            if !bounded {
                let mut tables = path;
                tables.push(name.clone());
                return Err(GraphError::UnboundedCycle { tables });
            }
            let depths = path.iter().filter_map(|table| self.nodes[table].bound());
            let depth = depths.min().unwrap_or(Self::DEFAULT_MAX_DEPTH);
            if let Some(node) = self.nodes.get_mut(name) {
                node.cyclic = true;
                node.max_depth = depth;
            }
        }
        let cyclic: Vec<&String> = names.iter().filter(|name| self.nodes[*name].cyclic).collect();
        let reads_whole = |name: &String| cyclic.iter().any(|cyclic| *cyclic == name || self.is_ancestor(name, cyclic));
        let reading: Vec<String> = names.iter().filter(|name| reads_whole(name)).cloned().collect();
        for name in reading {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.reads_whole = true;
            }
        }
        Ok(())
    }

    /// The shortest way from an entity through its parents back to itself, without its end.
    fn way_back(&self, start: &str) -> Option<Vec<String>> {
        let mut ways = std::collections::VecDeque::from([vec![start.to_owned()]]);
        let mut seen = std::collections::HashSet::new();
        while let Some(way) = ways.pop_front() {
            let node = self.nodes.get(way.last()?)?;
            for parent in &node.parents {
                if parent == start {
                    return Some(way);
                }
                if seen.insert(parent.clone()) {
                    let mut longer = way.clone();
                    longer.push(parent.clone());
                    ways.push_back(longer);
                }
            }
        }
        None
    }

    /// The node of a record's entity; `None` if no model of that table derives `CacheSweep`.
    pub fn node(&self, record: &RecordKey) -> Option<&Node> {
        self.table(record.entity())
    }

    /// The node of a table.
    pub fn table(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name).or_else(|| self.nodes.get(crate::escape::unescape(name).as_ref()))
    }

    /// All nodes, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// What is invalidated when a tree of `table` is deeper than its bound: the whole of it, and of everything above it.
    pub fn wholes_above(&self, table: &str) -> Vec<RecordKey> {
        let above = self.nodes.iter().filter(|(name, node)| node.reads_whole && (*name == table || self.is_ancestor(name, table)));
        let mut wholes: Vec<RecordKey> = above.map(|(_, node)| node.whole.clone()).collect();
        wholes.sort();
        wholes
    }

    /// Whether a record of `ancestor` can be above a record of `table`, by the declared relations.
    pub fn is_ancestor(&self, ancestor: &str, table: &str) -> bool {
        let mut open = vec![table.to_owned()];
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = open.pop() {
            let Some(node) = self.nodes.get(&name) else { continue };
            for parent in &node.parents {
                if parent == ancestor {
                    return true;
                }
                if seen.insert(parent.clone()) {
                    open.push(parent.clone());
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
