//! The expansion for SeaORM.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};

use crate::expand::{at, optional, stub};
use crate::parse::{Field, Model};
use crate::read_seaorm::SeaOrm;

pub(crate) fn expand(model: &Model<SeaOrm>) -> TokenStream {
    if !model.is_model {
        return stub(model, &quote!(::cachesweeper_seaorm));
    }
    let traits = traits(model);
    if model.orm.is_ex {
        return quote! {
            const _: () = {
                use ::cachesweeper_seaorm::__private as sweep;
                #traits
            };
        };
    }
    let entity = entity(model);
    let markers = markers(model);
    let hooks = if model.orm.manual_hooks { TokenStream::new() } else { hooks() };
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
fn traits(model: &Model<SeaOrm>) -> TokenStream {
    let ident = &model.ident;
    let digested = model.fields.iter().filter(|field| field.skip.is_none());
    let digests = digested.map(|field| {
        let (name, ty) = (&field.ident, &field.ty);
        quote_spanned!(at(ty)=> (&&sweep::Column(&self.#name)).digest_into(&mut row);)
    });
    let record_key = if model.orm.is_ex {
        // The dense format marks the key's fields, in the key's order. SeaORM's `get` works on the model itself only.
        let keys = model.fields.iter().filter(|field| field.primary_key).map(|field| &field.ident);
        quote!(sweep::key_of_values::<Entity>([#(::core::convert::Into::into(::core::clone::Clone::clone(&self.#keys))),*]))
    } else {
        quote!(sweep::key_of_model::<Entity>(self))
    };
    let updated_at = match model.strategy_field() {
        Some(Field { ident, .. }) => quote!(sweep::version::<Entity>(&self.#ident)),
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
                #[allow(unused_imports)]
                use sweep::{DigestByColumn as _, DigestByValue as _};
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
fn entity(model: &Model<SeaOrm>) -> TokenStream {
    let columns = model.columns().map(|field| {
        let Field { column, ty, .. } = field;
        let skip = field.skip.is_some();
        quote_spanned!(at(ty)=> sweep::SweepColumn::new::<_, #ty>(<EntityColumn>::#column, #skip))
    });
    let strategy = match model.strategy_field() {
        Some(Field { column, ty, .. }) => {
            quote_spanned!(at(ty)=> ::core::option::Option::Some(sweep::StrategyColumn::of::<Entity>(<EntityColumn>::#column)))
        }
        None => quote!(::core::option::Option::None),
    };
    let parents = match &model.parents {
        Some(listed) => {
            quote!(::core::option::Option::Some(::std::vec![#(sweep::sea_orm::RelationTrait::def(&<EntityRelation>::#listed)),*]))
        }
        None => quote!(::core::option::Option::None),
    };
    let max_depth = optional(model.max_depth.as_ref());
    let version = model.strategy_field().map(|Field { ty, .. }| {
        quote! {
            #[automatically_derived]
            impl sweep::VersionedEntity for Entity {
                type Version = #ty;
            }
        }
    });
    let (collection, name) = (model.collection, model.ident.to_string());
    quote! {
        // Everything is reached through `Entity`, so that its absence is the one message.
        type EntityColumn = <Entity as sweep::sea_orm::EntityTrait>::Column;
        #[allow(dead_code)]
        type EntityRelation = <Entity as sweep::sea_orm::EntityTrait>::Relation;

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

        #version
    }
}

fn markers(model: &Model<SeaOrm>) -> TokenStream {
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
    let of = quote!(<Entity as sweep::sea_orm::EntityTrait>::Model);
    let after_save = hook("after_save", quote!(model: #of, db: &C, insert: bool), of, quote!(model, db, insert));
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
