//! The expansion for Diesel.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;

use crate::expand::{at, optional, stub};
use crate::parse::{Field, Model};
use crate::read_diesel::{BelongsTo, Diesel};

pub(crate) fn expand(model: &Model<Diesel>) -> TokenStream {
    if !model.is_model {
        return stub(model, &quote!(::cachesweeper_diesel));
    }
    let (columns, entity, traits, markers) = (columns(model), entity(model), traits(model), markers(model));
    quote! {
        const _: () = {
            use ::cachesweeper_diesel::__private as __sweep;
            #columns
            #entity
            #traits
            #markers
        };
    }
}

/// The columns' types, each under a name of its own: so a column or a table that is not there is reported once, at the column's
/// field or the table's name, and everything else about a column where the name is used.
fn columns(model: &Model<Diesel>) -> TokenStream {
    let table = &model.orm.table;
    let aliases = model.columns().filter_map(|field| {
        let (alias, mut column) = (alias(field), field.column.clone()?);
        column.set_span(at(&column));
        Some(quote!(#[allow(non_camel_case_types)] type #alias = #table::#column;))
    });
    quote!(#(#aliases)*)
}

/// The name of a column's type.
fn alias(field: &Field) -> Ident {
    format_ident!("__{}", field.name(), span = at(&field.ty))
}

/// The columns of the primary key, in its order. Those that are not there have been reported.
fn primary_key(model: &Model<Diesel>) -> impl Iterator<Item = &Field> {
    model.orm.primary_key.iter().filter_map(|key| model.column(&key.unraw().to_string()))
}

/// A column's value, for the traits that read values.
fn value(field: &Field) -> TokenStream {
    let (Field { ident, ty, .. }, alias) = (field, alias(field));
    quote_spanned!(at(ty)=> (&&__sweep::Value::<#alias, _>(&self.#ident, ::core::marker::PhantomData)))
}

/// `CacheSweep` and `Dependencies`.
fn traits(model: &Model<Diesel>) -> TokenStream {
    let ident = &model.ident;
    let digested = model.fields.iter().filter(|field| field.skip.is_none());
    let digests = digested.map(|field| {
        let (name, ty) = (&field.ident, &field.ty);
        quote_spanned!(at(ty)=> (&&__sweep::Column(&self.#name)).digest_into(&mut row);)
    });
    let keys = primary_key(model).map(|field| {
        let value = value(field);
        quote_spanned!(at(&field.ty)=> #value.key_part())
    });
    let keys: Vec<TokenStream> = keys.collect();
    let parts = keys.len();
    let updated_at = match model.strategy_field() {
        Some(field) => {
            let value = value(field);
            let micros = quote_spanned!(at(&field.ty)=> #value.micros());
            quote! {
                #[allow(unused_imports)]
                use __sweep::{ReadNothing as _, ReadVersion as _};
                #micros
            }
        }
        None => quote!(::core::option::Option::None),
    };
    quote! {
        #[automatically_derived]
        impl __sweep::CacheSweep for #ident {
            fn entity() -> &'static __sweep::Entity {
                &ENTITY
            }

            fn record_key(&self) -> __sweep::RecordKey {
                #[allow(unused_imports)]
                use __sweep::{ReadKey as _, ReadNothing as _};
                let key: [::std::borrow::Cow<'_, str>; #parts] = [#(#keys),*];
                __sweep::RecordKey::composite(ENTITY.name(), key)
            }

            fn row_digest(&self) -> u128 {
                #[allow(unused_imports)]
                use __sweep::{DigestByColumn as _, DigestByDebug as _};
                let mut row = __sweep::RowDigest::new();
                #(#digests)*
                row.finish()
            }

            fn updated_at(&self) -> ::core::option::Option<__sweep::Micros> {
                #updated_at
            }
        }

        #[automatically_derived]
        impl __sweep::Dependencies for #ident {
            fn collect_into(&self, out: &mut ::std::vec::Vec<__sweep::Dependency>) {
                out.push(__sweep::Row::dependency(self));
            }
        }
    }
}

/// The entity's entry in the registry, and what writes need to know of it.
fn entity(model: &Model<Diesel>) -> TokenStream {
    let (ident, table) = (&model.ident, &model.orm.table);
    let columns = model.columns().map(|field| {
        let (column, skip) = (alias(field), field.skip.is_some());
        let key = field.primary_key.then(|| quote_spanned!(at(&field.ty)=> __sweep::key_kind::<#column>()));
        let key = optional(key.as_ref());
        quote!(__sweep::SweepColumn { name: __sweep::column_name::<#column>(), key: #key, skip: #skip })
    });
    let strategy = model.strategy_field().map(|field| {
        let column = alias(field);
        quote_spanned!(at(&field.ty)=> (__sweep::column_name::<#column>(), __sweep::zoned::<#column>()))
    });
    let parents = model.orm.belongs_to.iter().filter(|relation| model.is_swept(&relation.name));
    let parents = parents.filter_map(|relation| parent(model, relation));
    let primary_key = primary_key(model).map(alias);
    let (strategy, max_depth) = (optional(strategy.as_ref()), optional(model.max_depth.as_ref()));
    let (listed, collection, name) = (model.parents.is_some(), model.collection, ident.to_string());
    quote! {
        static ENTITY: __sweep::Entity = __sweep::Entity::new(|| {
            #[allow(unused_imports)]
            use __sweep::{NoParent as _, SweptParent as _};
            __sweep::describe::<#table::table>(__sweep::Declared {
                model: ::core::concat!(::core::module_path!(), "::", #name),
                columns: ::std::vec![#(#columns),*],
                primary_key: <#ident as __sweep::SweepModel>::PRIMARY_KEY,
                strategy: #strategy,
                parents: ::std::vec![#(#parents),*],
                listed: #listed,
                collection: #collection,
                max_depth: #max_depth,
            })
        });

        __sweep::inventory::submit! { __sweep::Registered(&ENTITY) }

        #[automatically_derived]
        impl __sweep::SweepModel for #ident {
            type Table = #table::table;
            const PRIMARY_KEY: &'static [&'static str] = &[#(__sweep::column_name::<#primary_key>()),*];
        }

        #[automatically_derived]
        impl __sweep::SweepTable<#ident> for #table::table {
            fn entity() -> &'static __sweep::Entity {
                &ENTITY
            }
        }
    }
}

/// The relation to a parent, or none to a parent without the derive.
fn parent(model: &Model<Diesel>, relation: &BelongsTo) -> Option<TokenStream> {
    let BelongsTo { parent, name, foreign_key } = relation;
    let column = alias(model.column(foreign_key)?);
    Some(match model.parents.iter().flatten().find(|listed| *listed == name) {
        Some(listed) => {
            quote_spanned!(at(listed)=> ::core::option::Option::Some(__sweep::listed_parent::<#parent, #column>()))
        }
        None => quote_spanned!(at(parent)=> (&&__sweep::Target::<#parent, #column>(::core::marker::PhantomData)).declaration()),
    })
}

fn markers(model: &Model<Diesel>) -> TokenStream {
    let ident = &model.ident;
    let lookup = model.using.is_none().then(|| quote!(#[automatically_derived] impl __sweep::KeyLookup for #ident {}));
    let collection = model.collection.then(|| quote!(#[automatically_derived] impl __sweep::Collection for #ident {}));
    quote!(#lookup #collection)
}
