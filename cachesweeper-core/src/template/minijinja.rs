//! The cache tag for minijinja:
//!
//! ```jinja
//! {% call cachesweeper(comment, 500, "comment.html") %}
//!   <p>{{ comment.text }}</p>
//! {% endcall %}
//! ```
//!
//! The arguments are what the fragment shows (a [`row`], [`rows`], a [`key`], or a list of them), its TTL in seconds (`none`
//! for the default), its name, and any number of further parts of its key. The body runs only if there is no valid version.
//!
//! Templates render after their data were loaded, so a tag needs to know since when: open a page first, load, prefetch, render
//! with the page open, and finish it.
//!
//! ```
//! use cachesweeper_core::{RecordKey, blocking::Sweeper, template::minijinja::{add_to, key}};
//! use minijinja::{Environment, context};
//!
//! let sweeper = Sweeper::builder().memory(64 << 20).build()?;
//! let mut env = Environment::new();
//! add_to(&mut env);
//! env.add_template("page.html", r#"{% call cachesweeper(comment, 500, "comment.html") %}<p>{{ text }}</p>{% endcall %}"#)?;
//!
//! let page = sweeper.page();
//! let comment = RecordKey::new("comment", 42);
//! let template = env.get_template("page.html")?;
//! let html = page.render(|| template.render(context! { comment => key(&comment), text => "a < b" }))?;
//! assert_eq!(html, "<p>a &lt; b</p>");
//! page.finish();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde::Serialize;

use crate::page::{TagError, TagSettings, open_page};
use crate::{CacheSweep, Dependency, RecordKey, Row};

/// Adds the tag `cachesweeper` to an environment.
pub fn add_to(env: &mut Environment<'_>) {
    env.add_function("cachesweeper", tag);
}

/// A row as a template value: all its fields, and what a tag needs to know of it.
pub fn row<T: CacheSweep + Serialize>(row: &T) -> Value {
    Value::from_object(RowValue { on: Row::dependency(row), fields: Value::from(minijinja::value::Serde(row)) })
}

/// Rows as a list of template values.
pub fn rows<T: CacheSweep + Serialize>(rows: &[T]) -> Value {
    rows.iter().map(row).collect()
}

/// A record that is not loaded, as a template value; for entities of the `counter` strategy.
pub fn key(record: &RecordKey) -> Value {
    let on = Dependency { record: record.clone(), row: None };
    Value::from_object(RowValue { on, fields: Value::from(record.to_string()) })
}

#[derive(Debug)]
struct RowValue {
    on: Dependency,
    fields: Value,
}

impl Object for RowValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        self.fields.as_object().map_or(ObjectRepr::Plain, |fields| fields.repr())
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.fields.get_item(key).ok().filter(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.fields.as_object().map_or(Enumerator::NonEnumerable, |fields| fields.enumerate())
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.fields, f)
    }
}

fn problem(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}

fn dependencies(value: &Value, out: &mut Vec<Dependency>) -> Result<(), Error> {
    if let Some(row) = value.downcast_object_ref::<RowValue>() {
        out.push(row.on.clone());
        return Ok(());
    }
    match value.kind() {
        minijinja::value::ValueKind::Seq | minijinja::value::ValueKind::Iterable => {
            for item in value.try_iter()? {
                dependencies(&item, out)?;
            }
            Ok(())
        }
        kind => Err(problem(format!(
            "cachesweeper(…) needs a row as its first argument and got a value of type {kind}: put `row(&comment)`, `rows(&comments)` or `key(&record)` \
             of cachesweeper's template module into the context"
        ))),
    }
}

fn tag(state: &mut State<'_, '_>, args: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let caller: Value = kwargs
        .get("caller")
        .map_err(|_| problem("cachesweeper(…) is used as {% call cachesweeper(row, 500, \"name\") %} … {% endcall %}"))?;
    kwargs.assert_all_used()?;
    let [on, ttl, name, vary @ ..] = args.0.as_slice() else {
        return Err(problem(
            "cachesweeper(…) takes what the fragment shows, its TTL in seconds (or none), its name, and any further parts of its key",
        ));
    };
    let mut dependencies_of_tag = Vec::new();
    dependencies(on, &mut dependencies_of_tag)?;
    let ttl = match (ttl.is_none(), u64::try_from(ttl.clone())) {
        (true, _) => None,
        (false, Ok(secs)) if secs > 0 => Some(secs),
        _ => return Err(problem(format!("the TTL of cachesweeper(…) is {ttl}: give seconds, or none for the default"))),
    };
    let name = name.as_str().ok_or_else(|| problem(format!("the name of cachesweeper(…) is {name}: give a string")))?;
    let settings = TagSettings { name: name.to_owned(), ttl, vary: vary.iter().map(ToString::to_string).collect() };
    let page = open_page().ok_or_else(|| problem(TagError::NoPage.to_string()))?;

    let mut failed = None;
    let mut body = || match caller.call(state, &[]) {
        Ok(body) => Ok(body.to_string()),
        Err(error) => {
            failed = Some(error);
            Err("the body failed".into())
        }
    };
    match page.tag(dependencies_of_tag, settings, &mut body) {
        // The body was escaped when it was rendered.
        Ok(rendered) => Ok(Value::from_safe_string(rendered.into())),
        Err(TagError::Body(_)) => Err(failed.unwrap_or_else(|| problem("the body failed"))),
        Err(error) => Err(problem(error.to_string())),
    }
}
