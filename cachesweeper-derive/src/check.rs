//! Checks what only makes sense together.

use crate::parse::{Errors, Model, did_you_mean};

pub(crate) fn model(model: &Model, errors: &mut Errors) {
    if model.is_ex {
        // Its attributes are a copy of the model's, where each mistake is reported once already.
        *errors = Errors::default();
        return;
    }
    if let Some(using) = &model.using {
        let name = using.value();
        match model.strategy_field() {
            None => {
                let names: Vec<String> = model.fields.iter().map(crate::parse::Field::name).collect();
                let hint = did_you_mean(&name, names.iter().map(String::as_str));
                let counter = if name == "counter" { ". The counter strategy is the default: leave `using` out" } else { "" };
                errors.at(
                    using.span(),
                    format!("`using` names the timestamp column that is the record's version, and `{name}` is no column of this model{hint}{counter}"),
                );
            }
            Some(field) => {
                if let Some(skip) = field.skip {
                    errors.at(skip, format!("`{name}` is the record's version (`using`), so it cannot be skipped"));
                }
            }
        }
    }
    for field in model.fields.iter().filter(|field| field.primary_key) {
        if let Some(skip) = field.skip {
            errors.at(skip, "a primary key names the record, so it cannot be skipped");
        }
    }
    if let Some(parents) = &model.parents {
        for (position, parent) in parents.iter().enumerate() {
            if parents[..position].contains(parent) {
                errors.at(parent.span(), format!("the parent `{parent}` is listed twice"));
            }
        }
    }
}
