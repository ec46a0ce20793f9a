//! Reads a model: its fields, and what `#[sweep(…)]` and `#[sea_orm(…)]` say of them.

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Expr, LitStr, Type};

use crate::attribute::{Place, items, sweeps};
use crate::errors::{Errors, did_you_mean};
use crate::relation::{Relation, is_relation};

/// The model as it was written.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) generics: syn::Generics,
    pub(crate) fields: Vec<Field>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) using: Option<LitStr>,
    /// `None`: all belongs_to relations.
    pub(crate) parents: Option<Vec<Ident>>,
    pub(crate) collection: bool,
    pub(crate) manual_hooks: bool,
    pub(crate) max_depth: Option<u32>,
    /// SeaORM's second struct of the dense format, which holds loaded relations too.
    pub(crate) is_ex: bool,
    /// Whether this can be an entity's model at all.
    pub(crate) is_model: bool,
}

/// A column's field.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The variant of the `Column` enum.
    pub(crate) column: Ident,
    /// `column_name`, if it differs from the field's.
    pub(crate) column_name: Option<String>,
    pub(crate) primary_key: bool,
    pub(crate) skip: Option<Span>,
}

impl Model {
    /// The field that `using` names, by its own name or its column's.
    pub(crate) fn strategy_field(&self) -> Option<&Field> {
        let name = self.using.as_ref()?.value();
        self.fields.iter().find(|field| field.is_called(&name))
    }
}

impl Field {
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name() == name || self.column_name.as_deref() == Some(name)
    }
}

/// Reads everything that can be read; mistakes are collected.
pub(crate) fn model(input: &DeriveInput) -> (Model, Errors) {
    let mut errors = Errors::default();
    let mut model = Model {
        ident: input.ident.clone(),
        generics: input.generics.clone(),
        fields: Vec::new(),
        relations: Vec::new(),
        using: None,
        parents: None,
        collection: false,
        manual_hooks: false,
        max_depth: None,
        is_ex: input.ident == "ModelEx",
        is_model: true,
    };
    read_attributes(&mut model, &input.attrs, &mut errors);
    read_shape(&mut model, input, &mut errors);
    (model, errors)
}

fn read_shape(model: &mut Model, input: &DeriveInput, errors: &mut Errors) {
    let expected = "CacheSweep is derived on an entity's model: a struct with one named field per column";
    let fields = match &input.data {
        syn::Data::Struct(syn::DataStruct { fields: syn::Fields::Named(fields), .. }) => &fields.named,
        syn::Data::Struct(data) => {
            model.is_model = false;
            match &data.fields {
                syn::Fields::Unit => errors.on(&input.ident, expected),
                fields => errors.on(fields, expected),
            }
            return;
        }
        syn::Data::Enum(data) => {
            model.is_model = false;
            return errors.on(data.enum_token, expected);
        }
        syn::Data::Union(data) => {
            model.is_model = false;
            return errors.on(data.union_token, expected);
        }
    };
    if !input.generics.params.is_empty() {
        model.is_model = false;
        errors.on(&input.generics, "an entity's model is one table's, so it has no generic parameters");
    }
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        if is_relation(&field.ty) {
            model.relations.push(Relation::read(ident, &field.ty, &field.attrs));
        } else if is_ignored(&field.attrs) {
            for attr in sweeps(&field.attrs) {
                errors.on(&attr.meta, "this field is no column (`ignore`), so there is nothing to sweep");
            }
        } else {
            model.fields.push(read_field(ident, &field.ty, &field.attrs, errors));
        }
    }
}

fn read_attributes(model: &mut Model, attrs: &[Attribute], errors: &mut Errors) {
    for item in items(attrs, Place::Model, errors) {
        match item.name {
            "using" => model.using = item.string("updated_at", errors),
            "parents" => model.parents = item.names("Article", errors),
            "collection" => {
                item.bare(errors);
                model.collection = true;
            }
            "hooks" => {
                // Whoever writes it has their own hooks, however it is spelt.
                model.manual_hooks = true;
                let Some(value) = item.string("manual", errors) else { continue };
                if value.value() != "manual" && !item.misspelt {
                    let hint = did_you_mean(&value.value(), ["manual"]);
                    errors.at(value.span(), format!("unknown value {:?} of `hooks`{hint}; the only one is \"manual\"", value.value()));
                }
            }
            _ => model.max_depth = item.positive("a number of levels", errors),
        }
    }
}

fn read_field(ident: &Ident, ty: &Type, attrs: &[Attribute], errors: &mut Errors) -> Field {
    let mut field =
        Field { ident: ident.clone(), ty: ty.clone(), column: column_variant(ident), column_name: None, primary_key: false, skip: None };
    for item in items(attrs, Place::Field, errors) {
        item.bare(errors);
        field.skip = item.meta.path().segments.last().map(|segment| segment.ident.span());
    }
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")) {
        read_sea_orm(&mut field, attr);
    }
    field
}

/// What SeaORM's own attribute says. Mistakes in it are SeaORM's to report.
fn read_sea_orm(field: &mut Field, attr: &Attribute) {
    let _ = attr.parse_nested_meta(|meta| {
        if meta.path.is_ident("primary_key") {
            field.primary_key = true;
        } else if meta.path.is_ident("enum_name") {
            let name: LitStr = meta.value()?.parse()?;
            field.column = name.parse()?;
            return Ok(());
        } else if meta.path.is_ident("column_name") {
            let name: LitStr = meta.value()?.parse()?;
            field.column_name = Some(name.value());
            return Ok(());
        }
        pass_over(&meta)
    });
}

/// Passes over an item of another macro's attribute, so that the ones after it are still read.
fn pass_over(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        let _: proc_macro2::TokenStream = content.parse()?;
    }
    Ok(())
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
