//! The derive macros of Cachesweeper: attribute parsing (`attribute`, `relation`, `parse`), checks (`check`), and one expansion
//! per ORM (`seaorm`). Mistakes are collected on the way (`errors`) and reported all at once.
//!
//! Applications use them through `cachesweeper-seaorm` or `cachesweeper-diesel`, where they are called `CacheSweep`.

mod attribute;
mod check;
mod errors;
mod parse;
mod relation;
mod seaorm;

use proc_macro::TokenStream;

/// `#[derive(CacheSweep)]` for SeaORM models. See `cachesweeper_seaorm::CacheSweep`.
#[proc_macro_derive(SeaOrmCacheSweep, attributes(sweep))]
pub fn seaorm_cache_sweep(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let (model, mut errors) = parse::model(&input);
    check::model(&model, &mut errors);
    // The impls are emitted all the same, so that one mistake gives one message.
    let expanded = seaorm::expand(&model);
    let errors = errors.into_compile_errors();
    quote::quote!(#errors #expanded).into()
}
