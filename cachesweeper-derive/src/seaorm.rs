//! The expansion for SeaORM.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::parse::{Field, Model};

pub(crate) fn expand(model: &Model) -> TokenStream {
    let traits = traits(model);
    if model.is_ex {
        return quote! {
            const _: () = {
                use ::cachesweeper_seaorm::__private as sweep;
                #traits
            };
        };
    }
    let entity = entity(model);
    let markers = markers(model);
    let hooks = if model.manual_hooks { TokenStream::new() } else { hooks() };
    quote! {
        const _: () = {
            use ::cachesweeper_seaorm::__private as sweep;
            #entity
            #traits
            #markers
            #hooks
        };
    }
}

/// `CacheSweep` and `Dependencies`, for the model and for SeaORM's second struct of the dense format.
fn traits(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let digested = model.fields.iter().filter(|field| field.skip.is_none());
    let digests = digested.map(|field| {
        let (name, ty) = (&field.ident, &field.ty);
        quote_spanned!(ty.span()=> { use sweep::{DigestByColumn as _, DigestByValue as _}; (&&sweep::Column(&self.#name)).digest_into(&mut row); })
    });
    let keys: Vec<_> = model.fields.iter().filter(|field| field.primary_key).map(|field| &field.ident).collect();
    let record_key = if keys.is_empty() {
        quote!(sweep::key_of_model::<Entity>(self))
    } else {
        quote!(sweep::key_of_values::<Entity>([#(sweep::sea_orm::Value::from(::core::clone::Clone::clone(&self.#keys))),*]))
    };
    let updated_at = match model.strategy_field() {
        Some(Field { ident, ty, .. }) => quote_spanned!(ty.span()=> sweep::TimestampColumn::micros(&self.#ident)),
        None => quote!(::core::option::Option::None),
    };
    quote! {
        #[automatically_derived]
        impl sweep::CacheSweep for #ident {
            fn entity() -> &'static sweep::Entity {
                <Entity as sweep::SweepEntity>::entity()
            }

            fn record_key(&self) -> sweep::RecordKey {
                #record_key
            }

            fn row_digest(&self) -> u128 {
                let mut row = sweep::RowDigest::new();
                #(#digests)*
                row.finish()
            }

            fn updated_at(&self) -> ::core::option::Option<sweep::Micros> {
                #updated_at
            }
        }

        #[automatically_derived]
        impl sweep::Dependencies for #ident {
            fn collect_into(&self, out: &mut ::std::vec::Vec<sweep::Dependency>) {
                out.push(sweep::Row::dependency(self));
            }
        }
    }
}

/// The entity's entry in the registry, and what the hooks need to know of it.
fn entity(model: &Model) -> TokenStream {
    let columns = model.fields.iter().map(|field| {
        let Field { column, ty, .. } = field;
        let skip = field.skip.is_some();
        quote_spanned!(ty.span()=> sweep::SweepColumn::new::<_, #ty>(Column::#column, #skip))
    });
    let strategy = match model.strategy_field() {
        Some(Field { column, ty, .. }) => {
            quote_spanned!(ty.span()=> ::core::option::Option::Some(sweep::StrategyColumn::new::<_, #ty>(Column::#column)))
        }
        None => quote!(::core::option::Option::None),
    };
    let parents = match &model.parents {
        Some(listed) => quote!(::core::option::Option::Some(::std::vec![#(sweep::sea_orm::RelationTrait::def(&Relation::#listed)),*])),
        None => quote!(::core::option::Option::None),
    };
    let max_depth = match &model.max_depth {
        Some(depth) => quote!(::core::option::Option::Some(#depth)),
        None => quote!(::core::option::Option::None),
    };
    let (collection, name) = (model.collection, model.ident.to_string());
    quote! {
        static ENTITY: sweep::Entity = sweep::Entity::new(|| sweep::describe::<Entity>(sweep::Declared {
            model: ::core::concat!(::core::module_path!(), "::", #name),
            columns: ::std::vec![#(#columns),*],
            strategy: #strategy,
            parents: #parents,
            collection: #collection,
            max_depth: #max_depth,
        }));

        sweep::inventory::submit! { sweep::Registered(&ENTITY) }

        #[automatically_derived]
        impl sweep::SweepEntity for Entity {
            fn entity() -> &'static sweep::Entity {
                &ENTITY
            }
        }
    }
}

fn markers(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let lookup = model.using.is_none().then(|| quote!(#[automatically_derived] impl sweep::KeyLookup for #ident {}));
    let collection = model.collection.then(|| quote!(#[automatically_derived] impl sweep::Collection for #ident {}));
    quote!(#lookup #collection)
}

fn hooks() -> TokenStream {
    let hook = |name: &str, takes: TokenStream, gives: TokenStream, pass: TokenStream| {
        let name = format_ident!("{name}");
        quote! {
            async fn #name<C>(#takes) -> ::core::result::Result<#gives, sweep::sea_orm::DbErr>
            where
                C: sweep::sea_orm::ConnectionTrait,
            {
                sweep::hooks::#name(#pass).await
            }
        }
    };
    let before_save = hook("before_save", quote!(self, db: &C, insert: bool), quote!(Self), quote!(self, db, insert));
    let after_save = hook("after_save", quote!(model: Model, db: &C, insert: bool), quote!(Model), quote!(model, db, insert));
    let before_delete = hook("before_delete", quote!(self, db: &C), quote!(Self), quote!(self, db));
    let after_delete = hook("after_delete", quote!(self, db: &C), quote!(Self), quote!(self, db));
    quote! {
        #[sweep::async_trait::async_trait]
        #[automatically_derived]
        impl sweep::sea_orm::ActiveModelBehavior for ActiveModel {
            #before_save
            #after_save
            #before_delete
            #after_delete
        }
    }
}
