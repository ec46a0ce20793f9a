//! Reads `#[sweep(…)]`: its items by name, whatever they are on. What an item means is decided in `parse`.

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, Lit, LitStr, Meta, Path, Token};

use crate::errors::{Errors, list, nearest};
use crate::parse::Orm;

/// Where an attribute is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Model,
    Field,
}

impl Place {
    fn names<O: Orm>(self) -> &'static [&'static str] {
        match self {
            Self::Model => O::ITEMS,
            Self::Field => &["skip"],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Model => "the model",
            Self::Field => "a field",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Model => Self::Field,
            Self::Field => Self::Model,
        }
    }
}

/// One of the items between the parentheses, under a name that is valid in its place.
pub(crate) struct Item {
    pub(crate) name: &'static str,
    pub(crate) meta: Meta,
    /// Whether the name was misspelt. That is reported, and the item is read as if it had been right, so that nothing else
    /// is reported as well: a mistake in its value is not.
    pub(crate) misspelt: bool,
}

/// The items of all `#[sweep(…)]` among `attrs`.
pub(crate) fn items<O: Orm>(attrs: &[Attribute], place: Place, errors: &mut Errors) -> Vec<Item> {
    let valid = || list(place.names::<O>().iter().copied());
    let mut items: Vec<Item> = Vec::new();
    for attr in sweeps(attrs) {
        let Meta::List(content) = &attr.meta else {
            errors.on(&attr.meta, format!("write `#[sweep(…)]`; valid on {}: {}", place.word(), valid()));
            continue;
        };
        let metas = match content.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
            Ok(metas) => metas,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for meta in metas {
            let Some(item) = item::<O>(meta, place, errors) else { continue };
            if items.iter().any(|other| other.name == item.name) {
                errors.on(item.meta.path(), format!("`{}` is given twice", item.name));
                continue;
            }
            items.push(item);
        }
    }
    items
}

pub(crate) fn sweeps(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("sweep"))
}

fn item<O: Orm>(meta: Meta, place: Place, errors: &mut Errors) -> Option<Item> {
    let given = text(meta.path());
    let names = place.names::<O>();
    if let Some(name) = names.iter().find(|name| **name == given) {
        return Some(Item { name, meta, misspelt: false });
    }
    if let Some((_, reason)) = O::NOT_HERE.iter().find(|(name, _)| *name == given) {
        errors.on(meta.path(), reason);
        return None;
    }
    if place.other().names::<O>().contains(&given.as_str()) {
        errors.on(meta.path(), format!("`{given}` goes on {}, not on {}", place.other().word(), place.word()));
        return None;
    }
    let meant = nearest(&given, names.iter().copied());
    let hint = meant.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
    let valid = list(names.iter().copied());
    errors.on(meta.path(), format!("unknown sweep attribute `{given}`{hint}; valid on {}: {valid}", place.word()));
    meant.map(|name| Item { name, meta, misspelt: true })
}

fn text(path: &Path) -> String {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::")
}

impl Item {
    fn wrong(&self, tokens: impl quote::ToTokens, message: impl std::fmt::Display, errors: &mut Errors) {
        if !self.misspelt {
            errors.on(tokens, message);
        }
    }

    /// The item is its name alone.
    pub(crate) fn bare(&self, errors: &mut Errors) {
        if !matches!(self.meta, Meta::Path(_)) {
            self.wrong(&self.meta, format!("`{0}` takes no value: #[sweep({0})]", self.name), errors);
        }
    }

    /// `name = "value"`. A bare word is reported, and read as if it had its quotes.
    pub(crate) fn string(&self, example: &str, errors: &mut Errors) -> Option<LitStr> {
        let usage = |value: &str| format!("`{0}` takes a string: #[sweep({0} = {value:?})]", self.name);
        let Meta::NameValue(pair) = &self.meta else {
            self.wrong(&self.meta, usage(example), errors);
            return None;
        };
        match &pair.value {
            Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
            Expr::Path(path) if path.path.get_ident().is_some() => {
                let word = text(&path.path);
                self.wrong(path, usage(&word), errors);
                path.path.get_ident().map(|ident| LitStr::new(&word, ident.span()))
            }
            other => {
                self.wrong(other, usage(example), errors);
                None
            }
        }
    }

    /// `name = 32`, at least 1.
    pub(crate) fn positive(&self, what: &str, errors: &mut Errors) -> Option<u32> {
        let usage = format!("`{0}` takes {what}, at least 1: #[sweep({0} = 32)]", self.name);
        let value = match &self.meta {
            Meta::NameValue(pair) => &pair.value,
            other => {
                self.wrong(other, usage, errors);
                return None;
            }
        };
        let number = match value {
            Expr::Lit(syn::ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse::<u32>().ok(),
            _ => None,
        };
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            self.wrong(value, usage, errors);
        }
        number
    }

    /// `name(A, B)`. A path is reported, and read as its last word.
    pub(crate) fn names(&self, what: &str, example: &str, errors: &mut Errors) -> Option<Vec<Ident>> {
        let usage = format!("`{0}` takes a list of {what}: #[sweep({0}({example}))]", self.name);
        let Meta::List(content) = &self.meta else {
            self.wrong(&self.meta, usage, errors);
            return None;
        };
        let Ok(paths) = content.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated) else {
            self.wrong(&content.tokens, usage, errors);
            return None;
        };
        for path in paths.iter().filter(|path| path.get_ident().is_none()) {
            self.wrong(path, &usage, errors);
        }
        Some(paths.iter().filter_map(|path| path.segments.last()).map(|segment| segment.ident.clone()).collect())
    }
}
