//! Reads the relation fields of SeaORM's dense format (`HasMany<…>` and the like). Only its second struct, `ModelEx`, has them;
//! in the other formats the relations are an enum of their own, which a derive on the model cannot see.

use heck::ToUpperCamelCase;
use proc_macro2::Ident;
use syn::punctuated::Punctuated;
use syn::{Attribute, GenericArgument, LitStr, Meta, PathArguments, PathSegment, Token, Type};

use crate::attribute::sweeps;

/// A relation field.
pub(crate) struct Relation {
    /// The variant of the `Relation` enum.
    pub(crate) variant: String,
    pub(crate) kind: Kind,
    /// The `#[sweep(…)]` on it, which mean nothing there.
    pub(crate) sweeps: Vec<Attribute>,
}

pub(crate) enum Kind {
    /// The row holds the foreign key, in these columns (variants of `Column`).
    BelongsTo(Vec<String>),
    /// The other row holds it.
    Has,
    /// Declared elsewhere.
    Unknown,
}

impl Relation {
    pub(crate) fn read(ident: &Ident, ty: &Type, attrs: &[Attribute]) -> Self {
        let said: Vec<Meta> = attrs.iter().filter(|attr| attr.path().is_ident("sea_orm")).flat_map(metas).collect();
        let has = |name: &str| said.iter().any(|meta| meta.path().is_ident(name));
        let variant = value(&said, "relation_enum").map(|name| name.value()).or_else(|| target(ty));
        let from = value(&said, "from").map(|from| columns(&from));
        let kind = match from {
            Some(from) if has("belongs_to") || (has("self_ref") && !has("via")) => Kind::BelongsTo(from),
            _ if has("has_one") || has("has_many") => Kind::Has,
            _ => Kind::Unknown,
        };
        let variant = variant.unwrap_or_else(|| ident.to_string()).to_upper_camel_case();
        Self { variant, kind, sweeps: sweeps(attrs).cloned().collect() }
    }
}

/// Whether a field holds loaded relations.
pub(crate) fn is_relation(ty: &Type) -> bool {
    last(ty).is_some_and(|last| matches!(last.ident.to_string().as_str(), "HasMany" | "HasOne" | "BelongsTo"))
}

fn metas(attr: &Attribute) -> Vec<Meta> {
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    metas.map(|metas| metas.into_iter().collect()).unwrap_or_default()
}

fn value(said: &[Meta], name: &str) -> Option<LitStr> {
    said.iter().find_map(|meta| match meta {
        Meta::NameValue(pair) if pair.path.is_ident(name) => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// `article_id`, `Column::ArticleId` or `(user_id, post_id)`, as variants of `Column`.
fn columns(from: &LitStr) -> Vec<String> {
    let text = from.value();
    let names = text.trim_start_matches('(').trim_end_matches(')').split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| name.rsplit("::").next().unwrap_or(name).trim().to_upper_camel_case()).collect()
}

/// The relation's name if it is not given: that of the other entity's module.
fn target(ty: &Type) -> Option<String> {
    let inner = |ty: &Type| match &last(ty)?.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        }),
        _ => None,
    };
    let mut entity = inner(ty)?;
    if last(&entity)?.ident == "Option" {
        entity = inner(&entity)?;
    }
    let Type::Path(path) = &entity else { return None };
    let mut segments = path.path.segments.iter().rev();
    let entity = segments.next()?;
    Some(segments.next().unwrap_or(entity).ident.to_string())
}

fn last(ty: &Type) -> Option<&PathSegment> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last()
}
