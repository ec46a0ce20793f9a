//! Reads a model: its fields, and what `#[sweep(…)]` says of them. What the ORM's own attributes say is read by `read_seaorm`
//! and `read_diesel`.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt;
use syn::{Attribute, DeriveInput, Expr, LitStr, Type};

use crate::attribute::{Item, Place, items};
use crate::errors::Errors;

/// What an ORM's models have of their own.
pub(crate) trait Orm: Sized {
    /// What `#[sweep(…)]` on a model can say.
    const ITEMS: &'static [&'static str];
    /// What it cannot say here, though it can elsewhere: the item, and the message.
    const NOT_HERE: &'static [(&'static str, &'static str)] = &[];
    /// The message to who derives it on anything but a model.
    const SHAPE: &'static str;
    /// The message to who derives it on a generic struct.
    const GENERIC: &'static str;
    /// What `parents(…)` is a list of.
    const PARENTS: &'static str;

    /// Reads the ORM's attributes on the model.
    fn read(input: &DeriveInput, errors: &mut Errors) -> Self;

    /// Reads an item of [`ITEMS`](Self::ITEMS) that not all ORMs have.
    fn read_item(&mut self, item: &Item, errors: &mut Errors);

    /// Reads a field; `None` if it is no part of the row.
    fn read_field(&mut self, field: &syn::Field, ident: &Ident, errors: &mut Errors) -> Option<Field>;

    /// The relations to parents that can be seen here.
    fn parents(&self) -> impl Iterator<Item = Parent<'_>>;

    /// Checks what only this ORM can have wrong.
    fn check(model: &Model<Self>, errors: &mut Errors);
}

/// The model as it was written.
pub(crate) struct Model<O> {
    pub(crate) ident: Ident,
    pub(crate) generics: syn::Generics,
    pub(crate) fields: Vec<Field>,
    pub(crate) using: Option<LitStr>,
    /// `None`: all belongs_to relations.
    pub(crate) parents: Option<Vec<Ident>>,
    pub(crate) collection: bool,
    pub(crate) max_depth: Option<u32>,
    /// Whether this can be an entity's model at all.
    pub(crate) is_model: bool,
    pub(crate) orm: O,
}

/// A field of the row.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// What the ORM's code calls its column. `None`: it is no column of the table.
    pub(crate) column: Option<Ident>,
    /// `column_name`, if it was given.
    pub(crate) column_name: Option<String>,
    pub(crate) primary_key: bool,
    pub(crate) skip: Option<Span>,
}

/// A relation to a parent.
pub(crate) struct Parent<'a> {
    /// Its name in `parents(…)`.
    pub(crate) name: &'a str,
    /// The columns of the foreign key.
    pub(crate) columns: Vec<String>,
}

impl<O: Orm> Model<O> {
    /// Reads everything that can be read; mistakes are collected.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Self {
        let mut model = Self {
            ident: input.ident.clone(),
            generics: input.generics.clone(),
            fields: Vec::new(),
            using: None,
            parents: None,
            collection: false,
            max_depth: None,
            is_model: true,
            orm: O::read(input, errors),
        };
        model.read_items(&input.attrs, errors);
        model.read_shape(input, errors);
        model
    }

    fn read_items(&mut self, attrs: &[Attribute], errors: &mut Errors) {
        for item in items::<O>(attrs, Place::Model, errors) {
            match item.name {
                "using" => self.using = item.string("updated_at", errors),
                "parents" => self.parents = item.names(O::PARENTS, "Article", errors),
                "collection" => {
                    item.bare(errors);
                    self.collection = true;
                }
                "max_depth" => self.max_depth = item.positive("a number of levels", errors),
                _ => self.orm.read_item(&item, errors),
            }
        }
    }

    fn read_shape(&mut self, input: &DeriveInput, errors: &mut Errors) {
        let fields = match &input.data {
            syn::Data::Struct(syn::DataStruct { fields: syn::Fields::Named(fields), .. }) => &fields.named,
            syn::Data::Struct(data) => {
                self.is_model = false;
                match &data.fields {
                    syn::Fields::Unit => errors.on(&input.ident, O::SHAPE),
                    fields => errors.on(fields, O::SHAPE),
                }
                return;
            }
            syn::Data::Enum(data) => {
                self.is_model = false;
                return errors.on(data.enum_token, O::SHAPE);
            }
            syn::Data::Union(data) => {
                self.is_model = false;
                return errors.on(data.union_token, O::SHAPE);
            }
        };
        if !input.generics.params.is_empty() {
            self.is_model = false;
            errors.on(&input.generics, O::GENERIC);
        }
        for field in fields {
            let Some(ident) = &field.ident else { continue };
            if let Some(field) = self.orm.read_field(field, ident, errors) {
                self.fields.push(field);
            }
        }
    }

    /// The field that `using` names, by its own name or its column's.
    pub(crate) fn strategy_field(&self) -> Option<&Field> {
        let name = self.using.as_ref()?.value();
        self.columns().find(|field| field.is_called(&name))
    }

    /// The fields that are columns of the table.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.column.is_some())
    }

    /// The column that the ORM's code calls so.
    pub(crate) fn column(&self, name: &str) -> Option<&Field> {
        self.columns().find(|field| field.column.as_ref().is_some_and(|column| column.unraw() == name))
    }

    pub(crate) fn is_swept(&self, parent: &str) -> bool {
        self.parents.as_ref().is_none_or(|listed| listed.iter().any(|name| name == parent))
    }
}

impl Field {
    /// Reads what all ORMs' fields have: the rest is as if the ORM said nothing.
    pub(crate) fn read<O: Orm>(field: &syn::Field, ident: &Ident, errors: &mut Errors) -> Self {
        let mut skip = None;
        for item in items::<O>(&field.attrs, Place::Field, errors) {
            item.bare(errors);
            skip = item.meta.path().segments.last().map(|segment| segment.ident.span());
        }
        Self { ident: ident.clone(), ty: field.ty.clone(), column: None, column_name: None, primary_key: false, skip }
    }

    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    fn is_called(&self, name: &str) -> bool {
        self.name() == name || self.column_name.as_deref() == Some(name)
    }
}

/// Passes over an item of another macro's attribute, so that the ones after it are still read.
pub(crate) fn pass_over(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        let _: proc_macro2::TokenStream = content.parse()?;
    }
    Ok(())
}
