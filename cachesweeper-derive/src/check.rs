//! Checks what only makes sense together.

use crate::errors::{Errors, did_you_mean, list};
use crate::parse::{Field, Model};
use crate::relation::{Kind, Relation};

pub(crate) fn model(model: &Model, errors: &mut Errors) {
    if model.is_ex {
        // Its attributes are a copy of the model's, where each mistake is reported once already. Only it has the relations.
        *errors = Errors::default();
    } else {
        check_using(model, errors);
        check_skips(model, errors);
        check_twice(model, errors);
    }
    check_relations(model, errors);
}

fn check_using(model: &Model, errors: &mut Errors) {
    let Some(using) = &model.using else { return };
    let name = using.value();
    if model.strategy_field().is_some() || !model.is_model {
        return;
    }
    let names: Vec<String> = model.fields.iter().map(Field::name).collect();
    let advice = match name.as_str() {
        "counter" => ". The counter strategy is the default: leave `using` out".to_owned(),
        _ => format!("{}; its columns: {}", did_you_mean(&name, names.iter().map(String::as_str)), list(names.iter().map(String::as_str))),
    };
    let message = format!("`using` names the timestamp column that is the record's version, and this model has no column `{name}`{advice}");
    errors.at(using.span(), message);
}

fn check_skips(model: &Model, errors: &mut Errors) {
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

fn check_twice(model: &Model, errors: &mut Errors) {
    let Some(parents) = &model.parents else { return };
    for (position, parent) in parents.iter().enumerate() {
        if parents[..position].contains(parent) {
            errors.at(parent.span(), format!("the parent `{parent}` is listed twice"));
        }
    }
}

fn check_relations(model: &Model, errors: &mut Errors) {
    for relation in &model.relations {
        for attr in &relation.sweeps {
            let advice = match relation.kind {
                Kind::BelongsTo(_) => ". Which parents are swept is said on the model: #[sweep(parents(…))]",
                Kind::Has | Kind::Unknown => "",
            };
            errors.on(&attr.meta, format!("this field is a relation, not a column, so there is nothing to sweep{advice}"));
        }
        if let Kind::BelongsTo(columns) = &relation.kind
            && is_swept(model, relation)
        {
            check_foreign_key(model, relation, columns, errors);
        }
    }
    for parent in model.parents.iter().flatten() {
        let named = model.relations.iter().filter(|relation| parent == &relation.variant);
        let others = model.relations.iter().filter(|relation| matches!(relation.kind, Kind::BelongsTo(_)));
        let others = list(others.map(|relation| relation.variant.as_str()));
        let valid = if others.is_empty() { "it has none".to_owned() } else { format!("valid here: {others}") };
        if named.into_iter().any(|relation| matches!(relation.kind, Kind::Has)) {
            errors.at(parent.span(), format!("`{parent}` is no belongs_to relation of this model, so it is no parent; {valid}"));
        }
    }
}

fn is_swept(model: &Model, relation: &Relation) -> bool {
    model.parents.as_ref().is_none_or(|listed| listed.iter().any(|parent| parent == &relation.variant))
}

fn check_foreign_key(model: &Model, relation: &Relation, columns: &[String], errors: &mut Errors) {
    for field in model.fields.iter().filter(|field| columns.iter().any(|column| field.column == column)) {
        let Some(skip) = field.skip else { continue };
        if !field.primary_key {
            let (name, parent) = (field.name(), &relation.variant);
            errors.at(
                skip,
                format!("`{name}` names the parent `{parent}`, so it cannot be skipped. If `{parent}` is not to be swept, leave it out: #[sweep(parents(…))]"),
            );
        }
    }
}
