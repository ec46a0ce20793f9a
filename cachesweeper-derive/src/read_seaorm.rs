//! Reads what `#[sea_orm(…)]` says of a model.

use heck::ToUpperCamelCase;
use proc_macro2::Ident;
use quote::format_ident;
use syn::ext::IdentExt;
use syn::{Attribute, DeriveInput, LitStr};

use crate::attribute::{Item, sweeps};
use crate::errors::{Errors, did_you_mean, list};
use crate::parse::{Field, Model, Orm, Parent, pass_over};
use crate::relation::{Kind, Relation, is_relation};

/// What a SeaORM model has of its own.
pub(crate) struct SeaOrm {
    pub(crate) relations: Vec<Relation>,
    pub(crate) manual_hooks: bool,
    /// SeaORM's second struct of the dense format, which holds loaded relations too.
    pub(crate) is_ex: bool,
}

impl Orm for SeaOrm {
    const ITEMS: &'static [&'static str] = &["using", "parents", "collection", "hooks", "max_depth"];
    const SHAPE: &'static str = "CacheSweep is derived on an entity's model: a struct with one named field per column";
    const GENERIC: &'static str = "an entity's model is one table's, so it has no generic parameters";
    const PARENTS: &'static str = "relations, by their names in `Relation`";

    fn read(input: &DeriveInput, _: &mut Errors) -> Self {
        Self { relations: Vec::new(), manual_hooks: false, is_ex: input.ident == "ModelEx" }
    }

    /// `hooks`.
    fn read_item(&mut self, item: &Item, errors: &mut Errors) {
        // Whoever writes it has their own hooks, however it is spelt.
        self.manual_hooks = true;
        let Some(value) = item.string("manual", errors) else { return };
        if value.value() != "manual" && !item.misspelt {
            let hint = did_you_mean(&value.value(), ["manual"]);
            errors.at(value.span(), format!("unknown value {:?} of `hooks`{hint}; the only one is \"manual\"", value.value()));
        }
    }

    fn read_field(&mut self, field: &syn::Field, ident: &Ident, errors: &mut Errors) -> Option<Field> {
        if is_relation(&field.ty) {
            self.relations.push(Relation::read(ident, &field.ty, &field.attrs));
            return None;
        }
        if is_ignored(&field.attrs) {
            for attr in sweeps(&field.attrs) {
                errors.on(&attr.meta, "this field is no column (`ignore`), so there is nothing to sweep");
            }
            return None;
        }
        let mut column = Field { column: Some(column_variant(ident)), ..Field::read::<Self>(field, ident, errors) };
        for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")) {
            read_column(&mut column, attr);
        }
        Some(column)
    }

    fn parents(&self) -> impl Iterator<Item = Parent<'_>> {
        self.relations.iter().filter_map(|relation| match &relation.kind {
            Kind::BelongsTo(columns) => Some(Parent { name: &relation.variant, columns: columns.clone() }),
            Kind::Has | Kind::Unknown => None,
        })
    }

    fn check(model: &Model<Self>, errors: &mut Errors) {
        for relation in &model.orm.relations {
            for attr in &relation.sweeps {
                let advice = match relation.kind {
                    Kind::BelongsTo(_) => ". Which parents are swept is said on the model: #[sweep(parents(…))]",
                    Kind::Has | Kind::Unknown => "",
                };
                errors.on(&attr.meta, format!("this field is a relation, not a column, so there is nothing to sweep{advice}"));
            }
        }
        // Whether a listed name is a relation at all is the compiler's to say: most formats do not show the relations here.
        for parent in model.parents.iter().flatten() {
            let mut named = model.orm.relations.iter().filter(|relation| parent == &relation.variant);
            let others = list(model.orm.parents().map(|relation| relation.name));
            let valid = if others.is_empty() { "it has none".to_owned() } else { format!("valid here: {others}") };
            if named.any(|relation| matches!(relation.kind, Kind::Has)) {
                errors.at(parent.span(), format!("`{parent}` is no belongs_to relation of this model, so it is no parent; {valid}"));
            }
        }
    }
}

/// What SeaORM's own attribute says of a column. Mistakes in it are SeaORM's to report.
fn read_column(field: &mut Field, attr: &Attribute) {
    let _ = attr.parse_nested_meta(|meta| {
        if meta.path.is_ident("primary_key") {
            field.primary_key = true;
        } else if meta.path.is_ident("enum_name") {
            let name: LitStr = meta.value()?.parse()?;
            field.column = Some(name.parse()?);
            return Ok(());
        } else if meta.path.is_ident("column_name") {
            let name: LitStr = meta.value()?.parse()?;
            field.column_name = Some(name.value());
            return Ok(());
        }
        pass_over(&meta)
    });
}

/// The variant of the `Column` enum, as SeaORM names it.
fn column_variant(ident: &Ident) -> Ident {
    let name = ident.unraw().to_string().to_upper_camel_case();
    let name = if name == "Self" { "Self_" } else { &name };
    format_ident!("{name}", span = ident.span())
}

fn is_ignored(attrs: &[Attribute]) -> bool {
    let mut ignored = false;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")) {
        let _ = attr.parse_nested_meta(|meta| {
            ignored |= meta.path.is_ident("ignore");
            pass_over(&meta)
        });
    }
    ignored
}
