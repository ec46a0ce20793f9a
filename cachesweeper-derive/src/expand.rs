//! What the expansions of all ORMs share.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;

use crate::parse::Model;

/// Where messages about a field's type, or a name that the user wrote, point to. Names are resolved as everywhere else in the
/// expansion: the user's own span would not see `self` and our locals if it comes out of a `macro_rules!`.
pub(crate) fn at(tokens: &impl ToTokens) -> Span {
    Span::call_site().located_at(tokens.span())
}

/// `Some(value)` or `None`, in the code.
pub(crate) fn optional(value: Option<&impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// What is no entity's model gets impls that only satisfy the compiler, so that its uses are not reported as well.
pub(crate) fn stub<O>(model: &Model<O>, krate: &TokenStream) -> TokenStream {
    let ident = &model.ident;
    let (impls, types, bounds) = model.generics.split_for_impl();
    quote! {
        const _: () = {
            use #krate::__private as __sweep;

            #[automatically_derived]
            impl #impls __sweep::CacheSweep for #ident #types #bounds {
                fn entity() -> &'static __sweep::Entity {
                    ::core::unreachable!()
                }

                fn record_key(&self) -> __sweep::RecordKey {
                    ::core::unreachable!()
                }

                fn row_digest(&self) -> u128 {
                    ::core::unreachable!()
                }

                fn updated_at(&self) -> ::core::option::Option<__sweep::Micros> {
                    ::core::unreachable!()
                }
            }

            #[automatically_derived]
            impl #impls __sweep::Dependencies for #ident #types #bounds {
                fn collect_into(&self, _: &mut ::std::vec::Vec<__sweep::Dependency>) {}
            }
        };
    }
}
