//! The derive macros of Cachesweeper: attributes (`attribute`, `parse`; what an ORM's own say: `read_seaorm`, `relation`,
//! `read_diesel`), checks (`check`), and one expansion per ORM (`seaorm`, `diesel`). Mistakes are collected on the way
//! (`errors`) and reported all at once.
//!
//! Applications use them through `cachesweeper-seaorm` or `cachesweeper-diesel`, where they are called `CacheSweep`.

mod attribute;
mod check;
mod connection;
mod diesel;
mod errors;
mod expand;
mod parse;
mod read_diesel;
mod read_seaorm;
mod relation;
mod seaorm;

use proc_macro::TokenStream;

use crate::errors::Errors;
use crate::parse::Model;

/// `#[derive(CacheSweep)]` for SeaORM models. See `cachesweeper_seaorm::CacheSweep`.
#[proc_macro_derive(SeaOrmCacheSweep, attributes(sweep))]
pub fn seaorm_cache_sweep(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let mut errors = Errors::default();
    let model = Model::<read_seaorm::SeaOrm>::read(&input, &mut errors);
    if model.orm.is_ex {
        // Its attributes are a copy of the model's, where each mistake is reported once already. Only it has the relations.
        errors = Errors::default();
        check::relations(&model, &mut errors);
    } else {
        check::model(&model, &mut errors);
    }
    with(errors, seaorm::expand(&model))
}

/// `#[derive(CacheSweep)]` for the structs that Diesel loads rows as. See `cachesweeper_diesel::CacheSweep`.
#[proc_macro_derive(DieselCacheSweep, attributes(sweep, diesel))]
pub fn diesel_cache_sweep(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let mut errors = Errors::default();
    let model = Model::<read_diesel::Diesel>::read(&input, &mut errors);
    check::model(&model, &mut errors);
    with(errors, diesel::expand(&model))
}

/// `#[derive(SweepConn)]` for enums of Diesel's connections. See `cachesweeper_diesel::SweepConn`.
#[proc_macro_derive(SweepConn)]
pub fn sweep_conn(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let mut errors = Errors::default();
    let connection = connection::Connection::read(&input, &mut errors);
    with(errors, connection.map(|connection| connection.expand()).unwrap_or_default())
}

/// The impls are emitted all the same, so that one mistake gives one message.
fn with(errors: Errors, expanded: proc_macro2::TokenStream) -> TokenStream {
    let errors = errors.into_compile_errors();
    quote::quote!(#errors #expanded).into()
}
