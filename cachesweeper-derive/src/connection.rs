//! `SweepConn` for enums of connections, beside Diesel's `MultiConnection`.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Fields, Type};

use crate::errors::Errors;
use crate::expand::at;

/// An enum of connections.
pub(crate) struct Connection {
    ident: Ident,
    variants: Vec<(Ident, Type)>,
}

impl Connection {
    /// Reads everything that can be read; mistakes are collected. `None` if there is nothing to expand.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let expected = "SweepConn is derived on an enum of connections, beside `diesel::MultiConnection`";
        let data = match &input.data {
            Data::Enum(data) => data,
            Data::Struct(data) => {
                errors.on(data.struct_token, expected);
                return None;
            }
            Data::Union(data) => {
                errors.on(data.union_token, expected);
                return None;
            }
        };
        if data.variants.is_empty() {
            errors.on(&input.ident, format!("{expected}; this one has none"));
            return None;
        }
        let mut variants = Vec::new();
        for variant in &data.variants {
            match &variant.fields {
                Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                    variants.push((variant.ident.clone(), fields.unnamed[0].ty.clone()));
                }
                _ => errors.on(variant, format!("each variant holds one connection: `{}(…)`", variant.ident)),
            }
        }
        (variants.len() == data.variants.len()).then(|| Self { ident: input.ident.clone(), variants })
    }

    pub(crate) fn expand(&self) -> TokenStream {
        let ident = &self.ident;
        // With the type's span: a variant that is no connection is reported there.
        let forward = |method: &str| {
            let method = Ident::new(method, proc_macro2::Span::call_site());
            let arms = self.variants.iter().map(|(name, ty)| {
                let call = quote_spanned!(at(ty)=> __sweep::SweepConn::#method(conn));
                quote!(Self::#name(conn) => #call)
            });
            quote!(match self { #(#arms),* })
        };
        let (dialect, identity, begin_write) = (forward("dialect"), forward("identity"), forward("begin_write"));
        // The enums that `MultiConnection` makes have no names that can be relied on, but this one's variants.
        let renderers = self.variants.iter().map(|(name, ty)| {
            let default = quote_spanned!(at(ty)=> ::core::default::Default::default());
            quote!(Self::#name(_) => __sweep::Renderer::new(MultiBackend::#name(#default), MultiQueryBuilder::#name(#default)))
        });
        quote! {
            const _: () = {
                use ::cachesweeper_diesel::__private as __sweep;

                #[automatically_derived]
                impl __sweep::SweepConn for #ident {
                    type Raw = Self;
                    // Diesel gives such an enum neither upserts nor RETURNING, so nothing is lost by asking for none.
                    type Inserts = __sweep::inserts::Asked;

                    fn raw(&mut self) -> &mut Self {
                        self
                    }

                    fn dialect(&self) -> __sweep::Dialect {
                        #dialect
                    }

                    fn renderer(&self) -> __sweep::Renderer<Self::Backend> {
                        type MultiBackend = <#ident as __sweep::diesel::connection::Connection>::Backend;
                        type MultiQueryBuilder = <MultiBackend as __sweep::diesel::backend::Backend>::QueryBuilder;
                        match self { #(#renderers),* }
                    }

                    fn identity(&mut self) -> usize {
                        #identity
                    }

                    fn begin_write(&mut self) -> __sweep::diesel::QueryResult<()> {
                        #begin_write
                    }
                }
            };
        }
    }
}
