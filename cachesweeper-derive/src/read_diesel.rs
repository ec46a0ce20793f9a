//! Reads what `#[diesel(…)]` says of a row struct. Items of no use here are passed over. What cannot be read is reported, though
//! Diesel's own derives will report it too: a relation that was missed would be a parent that is never swept.

use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, LitStr, Path, Token, Type, TypePath};

use crate::attribute::Item;
use crate::errors::{Errors, did_you_mean, list};
use crate::parse::{Field, Model, Orm, Parent, pass_over};

/// What a Diesel row struct has of its own.
pub(crate) struct Diesel {
    /// The table's module.
    pub(crate) table: Path,
    /// The columns of the primary key.
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) belongs_to: Vec<BelongsTo>,
}

/// `belongs_to(Article, foreign_key = article_id)`.
pub(crate) struct BelongsTo {
    pub(crate) parent: TypePath,
    /// The parent's name in `parents(…)`.
    pub(crate) name: String,
    /// The column of the foreign key.
    pub(crate) foreign_key: String,
}

impl Orm for Diesel {
    const ITEMS: &'static [&'static str] = &["using", "parents", "collection", "max_depth"];
    const NOT_HERE: &'static [(&'static str, &'static str)] = &[(
        "hooks",
        "Diesel has no hooks, so there are none to write by hand: leave `hooks` out. Writes are swept by `execute_and_sweep` and its like",
    )];
    const SHAPE: &'static str =
        "CacheSweep is derived on the struct that a table's rows are loaded as: a struct with one named field per column";
    const GENERIC: &'static str = "the rows of a table are loaded as one type, so it has no generic parameters";
    const PARENTS: &'static str = "the types in `belongs_to(…)`, by their last names";

    fn read(input: &DeriveInput, errors: &mut Errors) -> Self {
        let table = format_ident!("{}s", snake_case(&input.ident), span = input.ident.span());
        let mut diesel = Self { table: table.into(), primary_key: vec![Ident::new("id", input.ident.span())], belongs_to: Vec::new() };
        refuse_old_forms(&input.attrs, &["table_name", "primary_key", "belongs_to"], errors);
        for attr in diesels(&input.attrs) {
            errors.of(attr.parse_nested_meta(|meta| diesel.read_struct(&meta)));
        }
        diesel
    }

    /// There are none.
    fn read_item(&mut self, _: &Item, _: &mut Errors) {}

    fn read_field(&mut self, field: &syn::Field, ident: &Ident, errors: &mut Errors) -> Option<Field> {
        refuse_old_forms(&field.attrs, &["column_name"], errors);
        let mut column_name = None;
        let mut is_column = true;
        for attr in diesels(&field.attrs) {
            let read = attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("column_name") {
                    column_name = Some(meta.value()?.parse::<Name>()?);
                    return Ok(());
                }
                is_column &= !(meta.path.is_ident("embed") || meta.path.is_ident("select_expression"));
                pass_over_diesel(&meta)
            });
            errors.of(read);
        }
        let Name { text, span } = column_name.clone().unwrap_or_else(|| Name::of(ident));
        let column = is_column.then(|| column_ident(&text, span)).flatten();
        let primary_key = column.is_some() && self.primary_key.iter().any(|key| key.unraw() == text);
        let column_name = column_name.map(|name| name.text);
        Some(Field { column, column_name, primary_key, ..Field::read::<Self>(field, ident, errors) })
    }

    fn parents(&self) -> impl Iterator<Item = Parent<'_>> {
        self.belongs_to.iter().map(|relation| Parent { name: &relation.name, columns: vec![relation.foreign_key.clone()] })
    }

    fn check(model: &Model<Self>, errors: &mut Errors) {
        if !model.is_model {
            return;
        }
        let columns: Vec<String> = model.columns().flat_map(|field| &field.column).map(|column| column.unraw().to_string()).collect();
        let columns = || columns.iter().map(String::as_str);
        for key in &model.orm.primary_key {
            let name = key.unraw().to_string();
            if model.column(&name).is_none() {
                let hint = did_you_mean(&name, columns());
                errors.at(
                    key.span(),
                    format!(
                        "a record is named by its primary key, and this struct has no field for the column `{name}`{hint}; its columns: {}. \
                         Another primary key is named with #[diesel(primary_key(…))]",
                        list(columns())
                    ),
                );
            }
        }
        if model.orm.primary_key.is_empty() {
            errors.on(&model.ident, "a record is named by its primary key, and `primary_key()` names no column");
        }
        for relation in &model.orm.belongs_to {
            let BelongsTo { parent, name, foreign_key } = relation;
            if model.is_swept(name) && model.column(foreign_key).is_none() {
                let hint = did_you_mean(foreign_key, columns());
                errors.on(
                    parent,
                    format!(
                        "the parent `{name}` is named by the column `{foreign_key}`, for which this struct has no field{hint}; its columns: \
                         {}. Another foreign key is named with #[diesel(belongs_to({name}, foreign_key = …))]",
                        list(columns())
                    ),
                );
            }
        }
        check_parents(model, errors);
    }
}

/// What is listed must be there.
fn check_parents(model: &Model<Diesel>, errors: &mut Errors) {
    let names = || model.orm.belongs_to.iter().map(|relation| relation.name.as_str());
    let valid = if model.orm.belongs_to.is_empty() { "it has none".to_owned() } else { format!("valid here: {}", list(names())) };
    for parent in model.parents.iter().flatten().filter(|parent| names().all(|name| *parent != name)) {
        let hint = did_you_mean(&parent.to_string(), names());
        errors.at(parent.span(), format!("`{parent}` is no `belongs_to` of this struct, so it is no parent{hint}; {valid}"));
    }
}

impl Diesel {
    fn read_struct(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        if meta.path.is_ident("table_name") {
            self.table = meta.value()?.parse()?;
        } else if meta.path.is_ident("primary_key") {
            let content;
            syn::parenthesized!(content in meta.input);
            self.primary_key = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?.into_iter().collect();
        } else if meta.path.is_ident("belongs_to") {
            let content;
            syn::parenthesized!(content in meta.input);
            self.belongs_to.push(content.parse()?);
        } else {
            pass_over_diesel(meta)?;
        }
        Ok(())
    }
}

impl Parse for BelongsTo {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let parent: TypePath = input.parse()?;
        let last = parent.path.segments.last().map(|segment| &segment.ident);
        let last = last.ok_or_else(|| syn::Error::new(parent.span(), "paths have a last segment"))?;
        let (name, mut foreign_key) = (last.to_string(), format!("{}_id", snake_case(last)));
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let (item, _, column): (Ident, Token![=], Ident) = (input.parse()?, input.parse()?, input.parse()?);
            if item != "foreign_key" {
                return Err(syn::Error::new(item.span(), "expected `foreign_key = …`"));
            }
            foreign_key = column.unraw().to_string();
        }
        Ok(Self { parent, name, foreign_key })
    }
}

/// A column's name: an identifier, or a string of one.
#[derive(Clone)]
struct Name {
    text: String,
    span: Span,
}

impl Name {
    fn of(ident: &Ident) -> Self {
        Self { text: ident.unraw().to_string(), span: ident.span() }
    }
}

impl Parse for Name {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            return Ok(Self { text: text.value(), span: text.span() });
        }
        Ok(Self::of(&input.parse::<Ident>()?))
    }
}

/// A column in its table's module; `None` if no identifier can be it.
fn column_ident(name: &str, span: Span) -> Option<Ident> {
    let ident = syn::parse_str::<Ident>(name).or_else(|_| syn::parse_str(&format!("r#{name}")));
    ident.ok().map(|mut ident: Ident| {
        ident.set_span(span);
        ident
    })
}

/// Snake case as Diesel has it.
fn snake_case(ident: &Ident) -> String {
    let mut name = String::new();
    for character in ident.unraw().to_string().chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name
}

fn diesels(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("diesel"))
}

/// Passes over an item. The values of some are types.
fn pass_over_diesel(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    let types = ["sql_type", "serialize_as", "deserialize_as", "select_expression_type", "base_query_type"];
    if types.iter().any(|name| meta.path.is_ident(name)) {
        let _: Type = meta.value()?.parse()?;
        return Ok(());
    }
    pass_over(meta)
}

/// Diesel still reads attributes without `diesel` around them. What is said in one of these must not be missed.
fn refuse_old_forms(attrs: &[Attribute], names: &[&str], errors: &mut Errors) {
    for attr in attrs {
        if let Some(name) = names.iter().find(|name| attr.path().is_ident(name)) {
            errors.on(
                &attr.meta,
                format!("CacheSweep does not read this form of `{name}`, which Diesel deprecates: put it into #[diesel(…)]"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_diesel_makes_them() {
        for (name, snake) in [("Comment", "comment"), ("FooBarBaz", "foo_bar_baz"), ("HTTPLog", "h_t_t_p_log"), ("Übung", "übung")] {
            assert_eq!(snake_case(&format_ident!("{name}")), snake);
        }
    }

    #[test]
    fn what_is_of_no_use_here_is_passed_over() {
        let input: DeriveInput = syn::parse_quote! {
            #[diesel(check_for_backend(diesel::sqlite::Sqlite), base_query_type = dsl::OrderBy<a::table, a::id>, primary_key(a, r#b,))]
            #[diesel(belongs_to(crate::Article<'_>, foreign_key = r#in,), treat_none_as_null = true, table_name = crate::schema::rows)]
            #[diesel(belongs_to(super::UserName))]
            struct Row {
                #[diesel(select_expression_type = dsl::Count<a::id, b>, deserialize_as = Vec<u8>, column_name = "type")]
                kind: String,
                #[diesel(serialize_as = A<B, C>, embed)]
                embedded: Embedded,
                r#a: i32,
                #[diesel(column_name = "no column")]
                b: i32,
            }
        };
        let mut errors = Errors::default();
        let model = Model::<Diesel>::read(&input, &mut errors);
        assert!(errors.into_compile_errors().is_empty());
        let Diesel { table, primary_key, belongs_to } = &model.orm;
        assert_eq!(table.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>(), ["crate", "schema", "rows"]);
        assert_eq!(primary_key.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "r#b"]);
        let relations = belongs_to.iter().map(|relation| (relation.name.as_str(), relation.foreign_key.as_str()));
        assert_eq!(relations.collect::<Vec<_>>(), [("Article", "in"), ("UserName", "user_name_id")]);
        let columns = model.fields.iter().map(|field| (field.column.as_ref().map(ToString::to_string), field.primary_key));
        assert_eq!(columns.collect::<Vec<_>>(), [(Some("r#type".into()), false), (None, false), (Some("a".into()), true), (None, false)]);
    }
}
