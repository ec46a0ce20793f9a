//! Reads a model: its fields, and what `#[sweep(…)]` says of them.

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, Span, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, DeriveInput, Expr, LitInt, LitStr, Path, Type};

/// Mistakes, reported all at once.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.map(|errors| errors.to_compile_error()).unwrap_or_default()
    }
}

/// The model as it was written.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) fields: Vec<Field>,
    pub(crate) using: Option<LitStr>,
    /// `None`: all belongs_to relations.
    pub(crate) parents: Option<Vec<Ident>>,
    pub(crate) collection: bool,
    pub(crate) manual_hooks: bool,
    pub(crate) max_depth: Option<LitInt>,
    /// SeaORM's second struct of the dense format, which holds loaded relations too.
    pub(crate) is_ex: bool,
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

const MODEL_NAMES: [&str; 5] = ["using", "parents", "collection", "hooks", "max_depth"];
const FIELD_NAMES: [&str; 1] = ["skip"];

/// `unknown attribute `usin`; the valid ones are …, (did you mean `using`?)`
fn unknown(path: &Path, valid: &[&str], place: &str) -> syn::Error {
    let name = path.get_ident().map(ToString::to_string).unwrap_or_default();
    let list = valid.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let hint = did_you_mean(&name, valid.iter().copied());
    let elsewhere = match name.as_str() {
        "skip" => ". `skip` goes on a field",
        other if MODEL_NAMES.contains(&other) => ". It goes on the model",
        _ => "",
    };
    syn::Error::new_spanned(path, format!("unknown sweep attribute `{name}` {place}; valid here: {list}{hint}{elsewhere}"))
}

/// ` (did you mean `x`?)`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, valid: impl Iterator<Item = &'a str>) -> String {
    let best = valid.map(|other| (strsim::jaro_winkler(name, other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, other)| *likeness > 0.7 && *other != name)
        .map(|(_, other)| format!(" (did you mean `{other}`?)"))
        .unwrap_or_default()
}

/// Skips the rest of a broken attribute, so that the ones after it are still read.
fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        let _: TokenStream = content.parse()?;
    }
    Ok(())
}

fn once(seen: &mut Vec<String>, path: &Path, errors: &mut Errors) {
    let name = path.get_ident().map(ToString::to_string).unwrap_or_default();
    if seen.contains(&name) {
        errors.push(syn::Error::new_spanned(path, format!("`{name}` is given twice")));
    }
    seen.push(name);
}

/// Reads everything that can be read; mistakes are collected.
pub(crate) fn model(input: &DeriveInput) -> (Model, Errors) {
    let mut errors = Errors::default();
    let mut model = Model {
        ident: input.ident.clone(),
        fields: Vec::new(),
        using: None,
        parents: None,
        collection: false,
        manual_hooks: false,
        max_depth: None,
        is_ex: input.ident == "ModelEx",
    };
    match &input.data {
        syn::Data::Struct(data) if matches!(data.fields, syn::Fields::Named(_)) => {
            for field in &data.fields {
                let Some(ident) = &field.ident else { continue };
                if is_relation(&field.ty) || is_ignored(&field.attrs) {
                    refuse_sweep(&field.attrs, "this field is no column", &mut errors);
                    continue;
                }
                model.fields.push(read_field(ident, &field.ty, &field.attrs, &mut errors));
            }
        }
        _ => errors.at(input.ident.span(), "CacheSweep is derived on an entity's model: a struct with one named field per column"),
    }
    let mut seen = Vec::new();
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("sweep")) {
        let parsed = attr.parse_nested_meta(|meta| {
            once(&mut seen, &meta.path, &mut errors);
            read_model_attribute(&mut model, &meta, &mut errors)
        });
        if let Err(error) = parsed {
            errors.push(error);
        }
    }
    (model, errors)
}

fn read_model_attribute(model: &mut Model, meta: &ParseNestedMeta<'_>, errors: &mut Errors) -> syn::Result<()> {
    if meta.path.is_ident("using") {
        model.using = Some(string(meta, "using", "\"updated_at\"")?);
    } else if meta.path.is_ident("parents") {
        let content;
        syn::parenthesized!(content in meta.input);
        let listed = content.parse_terminated(Ident::parse_any, syn::Token![,])?;
        model.parents = Some(listed.into_iter().collect());
    } else if meta.path.is_ident("collection") {
        model.collection = true;
    } else if meta.path.is_ident("hooks") {
        let value = string(meta, "hooks", "\"manual\"")?;
        if value.value() == "manual" {
            model.manual_hooks = true;
        } else {
            let hint = did_you_mean(&value.value(), ["manual"].into_iter());
            errors.at(value.span(), format!("unknown value {:?} of `hooks`; the only one is \"manual\"{hint}", value.value()));
        }
    } else if meta.path.is_ident("max_depth") {
        let value: LitInt = meta.value()?.parse()?;
        match value.base10_parse::<u32>() {
            Ok(depth) if depth > 0 => model.max_depth = Some(value),
            _ => errors.at(value.span(), "`max_depth` is a number of levels, at least 1"),
        }
    } else {
        errors.push(unknown(&meta.path, &MODEL_NAMES, "on a model"));
        skip_value(meta)?;
    }
    Ok(())
}

fn string(meta: &ParseNestedMeta<'_>, name: &str, example: &str) -> syn::Result<LitStr> {
    let usage = format!("`{name}` takes a string: #[sweep({name} = {example})]");
    if !meta.input.peek(syn::Token![=]) {
        return Err(syn::Error::new_spanned(&meta.path, usage));
    }
    let value: Expr = meta.value()?.parse()?;
    match value {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Ok(text),
        other => Err(syn::Error::new_spanned(other, usage)),
    }
}

fn read_field(ident: &Ident, ty: &Type, attrs: &[Attribute], errors: &mut Errors) -> Field {
    let mut field =
        Field { ident: ident.clone(), ty: ty.clone(), column: column_variant(ident), column_name: None, primary_key: false, skip: None };
    for attr in attrs {
        if attr.path().is_ident("sweep") {
            let parsed = attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    field.skip = meta.path.get_ident().map(Ident::span);
                } else {
                    errors.push(unknown(&meta.path, &FIELD_NAMES, "on a field"));
                    skip_value(&meta)?;
                }
                Ok(())
            });
            if let Err(error) = parsed {
                errors.push(error);
            }
        } else if attr.path().is_ident("sea_orm") {
            read_sea_orm(&mut field, attr);
        }
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
            field.column = syn::parse_str(&name.value())?;
            return Ok(());
        } else if meta.path.is_ident("column_name") {
            let name: LitStr = meta.value()?.parse()?;
            field.column_name = Some(name.value());
            return Ok(());
        }
        skip_value(&meta)
    });
}

/// The variant of the `Column` enum, as SeaORM names it.
fn column_variant(ident: &Ident) -> Ident {
    let name = ident.unraw().to_string().to_upper_camel_case();
    if name == "Self" { format_ident!("{name}_") } else { format_ident!("{name}") }
}

/// Whether a field holds loaded relations (`HasMany<…>` and the like).
fn is_relation(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| matches!(last.ident.to_string().as_str(), "HasMany" | "HasOne" | "BelongsTo"))
}

fn is_ignored(attrs: &[Attribute]) -> bool {
    let mut ignored = false;
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")) {
        let _ = attr.parse_nested_meta(|meta| {
            ignored |= meta.path.is_ident("ignore");
            skip_value(&meta)
        });
    }
    ignored
}

fn refuse_sweep(attrs: &[Attribute], why: &str, errors: &mut Errors) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("sweep")) {
        errors.push(syn::Error::new_spanned(attr, format!("{why}, so there is nothing to sweep")));
    }
}
