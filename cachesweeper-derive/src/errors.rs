//! Mistakes, collected so that all of them are reported at once, and the words they share.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

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

    /// The mistake of what failed, if it did.
    pub(crate) fn of(&mut self, read: syn::Result<()>) {
        if let Err(error) = read {
            self.push(error);
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.map(|errors| errors.to_compile_error()).unwrap_or_default()
    }
}

/// The name most like `name`, if one is like it.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
    best.filter(|(likeness, other)| *likeness > 0.8 && *other != name).map(|(_, other)| other)
}

/// ` (did you mean `x`?)`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, names).map(|other| format!(" (did you mean `{other}`?)")).unwrap_or_default()
}

/// `` `a`, `b`, `c` ``.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_similar_name_is_proposed() {
        let names = ["using", "parents", "collection", "hooks", "max_depth"];
        for (typo, meant) in [("usin", "using"), ("parent", "parents"), ("colection", "collection"), ("hook", "hooks"), ("depth", "")] {
            let expected = if meant.is_empty() { String::new() } else { format!(" (did you mean `{meant}`?)") };
            assert_eq!(did_you_mean(typo, names), expected, "{typo}");
        }
    }
}
