//! The site's entities for SeaORM.
#![allow(missing_docs, reason = "SeaORM's macros write items without")]

pub mod article {
    //! Versioned by its own column, and as a collection.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "article")]
    #[sweep(using = "updated_at", collection)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
        #[sweep(skip)]
        pub views: i32,
        pub updated_at: DateTime,
        #[sea_orm(has_many)]
        pub comments: HasMany<super::comment::Entity>,
    }
}

pub mod comment {
    //! Versioned by a counter; below an article, and below another comment if it is a reply.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "comment")]
    #[sweep(max_depth = 8)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub article_id: Option<i64>,
        pub parent_id: Option<i64>,
        pub body: String,
        #[sweep(skip)]
        pub views: i32,
        #[sea_orm(belongs_to, from = "article_id", to = "id")]
        pub article: BelongsTo<Option<super::article::Entity>>,
        #[sea_orm(self_ref, relation_enum = "Parent", from = "parent_id", to = "id")]
        pub parent: HasOne<Entity>,
        #[sea_orm(has_many)]
        pub votes: HasMany<super::vote::Entity>,
    }
}

pub mod vote {
    //! Below a comment; each voter once.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "vote")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub comment_id: i64,
        pub voter: String,
        #[sea_orm(belongs_to, from = "comment_id", to = "id")]
        pub comment: BelongsTo<super::comment::Entity>,
    }
}

pub mod tag {
    //! Named by text, which some databases compare without regard to case.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub note: String,
    }
}

pub mod label {
    //! Below an article and a tag; its key has two parts.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "label")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub article_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_name: String,
        pub weight: i32,
        #[sea_orm(belongs_to, from = "article_id", to = "id")]
        pub article: BelongsTo<super::article::Entity>,
        #[sea_orm(belongs_to, from = "tag_name", to = "name")]
        pub tag: BelongsTo<super::tag::Entity>,
    }
}

pub mod coarse {
    //! Versioned by a column that keeps whole seconds.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "coarse")]
    #[sweep(using = "changed_at")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub body: String,
        pub changed_at: DateTime,
    }
}

pub mod part {
    //! Below a coarse row.
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "part")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub coarse_id: i64,
        #[sea_orm(belongs_to, from = "coarse_id", to = "id")]
        pub coarse: BelongsTo<super::coarse::Entity>,
    }
}

crate::orm::rows::from_row! {
    Article <=> article::Model { id, title, views, updated_at };
    Comment <=> comment::Model { id, article_id, parent_id, body, views };
    Vote <=> vote::Model { id, comment_id, voter };
    Tag <=> tag::Model { name, note };
    Label <=> label::Model { article_id, tag_name, weight };
    Coarse <=> coarse::Model { id, body, changed_at };
}
