//! Checks what only makes sense together.

use crate::errors::{Errors, did_you_mean, list};
use crate::parse::{Field, Model, Orm, Parent};

/// What every ORM's models are checked for, and what its own are.
pub(crate) fn model<O: Orm>(model: &Model<O>, errors: &mut Errors) {
    check_using(model, errors);
    check_skips(model, errors);
    check_twice(model, errors);
    relations(model, errors);
}

/// What can be said of the relations alone.
pub(crate) fn relations<O: Orm>(model: &Model<O>, errors: &mut Errors) {
    for parent in model.orm.parents().filter(|parent| model.is_swept(parent.name)) {
        check_foreign_key(model, &parent, errors);
    }
    O::check(model, errors);
}

fn check_using<O: Orm>(model: &Model<O>, errors: &mut Errors) {
    let Some(using) = &model.using else { return };
    let name = using.value();
    if model.strategy_field().is_some() || !model.is_model {
        return;
    }
    let names: Vec<String> = model.columns().map(Field::name).collect();
    let advice = match name.as_str() {
        "counter" => ". The counter strategy is the default: leave `using` out".to_owned(),
        _ => format!("{}; its columns: {}", did_you_mean(&name, names.iter().map(String::as_str)), list(names.iter().map(String::as_str))),
    };
    let message = format!("`using` names the timestamp column that is the record's version, and this model has no column `{name}`{advice}");
    errors.at(using.span(), message);
}

fn check_skips<O: Orm>(model: &Model<O>, errors: &mut Errors) {
    let strategy = model.strategy_field().map(|field| &field.ident);
    for field in &model.fields {
        let Some(skip) = field.skip else { continue };
        if field.primary_key {
            errors.at(skip, format!("`{}` is the primary key, which names the record, so it cannot be skipped", field.name()));
        } else if strategy == Some(&field.ident) {
            errors.at(skip, format!("`{}` is the record's version (`using`), so it cannot be skipped", field.name()));
        }
    }
}

fn check_twice<O: Orm>(model: &Model<O>, errors: &mut Errors) {
    let Some(parents) = &model.parents else { return };
    for (position, parent) in parents.iter().enumerate() {
        if parents[..position].contains(parent) {
            errors.at(parent.span(), format!("the parent `{parent}` is listed twice"));
        }
    }
}

fn check_foreign_key<O: Orm>(model: &Model<O>, parent: &Parent<'_>, errors: &mut Errors) {
    for field in parent.columns.iter().filter_map(|column| model.column(column)) {
        let Some(skip) = field.skip else { continue };
        if !field.primary_key {
            let (name, parent) = (field.name(), parent.name);
            errors.at(
                skip,
                format!("`{name}` names the parent `{parent}`, so it cannot be skipped. If `{parent}` is not to be swept, leave it out: #[sweep(parents(…))]"),
            );
        }
    }
}
