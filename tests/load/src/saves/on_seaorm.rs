//! The saves on SeaORM.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cachesweeper_seaorm::{RecordKey, SweepConnection, Sweeper};
use sea_orm::{
    ActiveModelBehavior, ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, EntityTrait,
    IntoActiveModel, Set, TransactionSession, TransactionTrait, Unchanged,
};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::saves::{Kind, Over, Saver};

mod article {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "saves_s_article")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) title: String,
        #[sea_orm(has_many)]
        pub(crate) comments: HasMany<super::comment::Entity>,
    }
}

mod comment {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "saves_s_comment")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) article_id: i64,
        pub(crate) body: String,
        #[sea_orm(belongs_to, from = "article_id", to = "id")]
        pub(crate) article: BelongsTo<super::article::Entity>,
        #[sea_orm(has_many)]
        pub(crate) votes: HasMany<super::vote::Entity>,
    }
}

mod vote {
    use cachesweeper_seaorm::CacheSweep;
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, CacheSweep)]
    #[sea_orm(table_name = "saves_s_vote")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) comment_id: i64,
        pub(crate) voter: String,
        #[sea_orm(belongs_to, from = "comment_id", to = "id")]
        pub(crate) comment: BelongsTo<super::comment::Entity>,
    }
}

/// The same tables without hooks.
mod bare {
    pub(crate) mod comment {
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
        #[sea_orm(table_name = "saves_s_comment")]
        pub(crate) struct Model {
            #[sea_orm(primary_key)]
            pub(crate) id: i64,
            pub(crate) article_id: i64,
            pub(crate) body: String,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }

    pub(crate) mod vote {
        use sea_orm::entity::prelude::*;

        #[sea_orm::model]
        #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
        #[sea_orm(table_name = "saves_s_vote")]
        pub(crate) struct Model {
            #[sea_orm(primary_key)]
            pub(crate) id: i64,
            pub(crate) comment_id: i64,
            pub(crate) voter: String,
        }

        impl ActiveModelBehavior for ActiveModel {}
    }
}

/// Three connections, two of them with a sweeper.
pub(super) struct Connections {
    runtime: Runtime,
    pools: Arc<Pools>,
}

struct Pools {
    bare: DatabaseConnection,
    embedded: SweepConnection,
    memcached: SweepConnection,
}

impl Connections {
    pub(super) fn open(postgres: &str, memcached: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let pools = runtime.block_on(Pools::open(postgres, memcached))?;
        Ok(Self { runtime, pools: Arc::new(pools) })
    }
}

impl Pools {
    async fn open(postgres: &str, memcached: &str) -> Result<Self, Failure> {
        let open = || {
            let mut options = ConnectOptions::new(postgres);
            options.sqlx_logging(false);
            Database::connect(options)
        };
        let builder = || Sweeper::builder().namespace("saves");
        let embedded = builder().memory(64 << 20).build()?;
        let memcached = builder().memcached([memcached]).build()?;
        for sweeper in [&embedded, &memcached] {
            warm_up(sweeper).await?;
        }
        Ok(Self {
            bare: open().await?,
            embedded: SweepConnection::new(open().await?, embedded),
            memcached: SweepConnection::new(open().await?, memcached),
        })
    }

    async fn save(&self, over: Over, kind: Kind, id: i64, text: String) -> Result<(), DbErr> {
        // As if the rows had been loaded.
        let (row, above) = (Unchanged(id), Unchanged(id));
        match (over, kind.vote) {
            (Over::Bare, false) => {
                save(&self.bare, bare::comment::ActiveModel { id: row, article_id: above, body: Set(text) }, kind.inside).await
            }
            (Over::Bare, true) => {
                save(&self.bare, bare::vote::ActiveModel { id: row, comment_id: above, voter: Set(text) }, kind.inside).await
            }
            (_, false) => save(self.swept(over), comment::ActiveModel { id: row, article_id: above, body: Set(text) }, kind.inside).await,
            (_, true) => save(self.swept(over), vote::ActiveModel { id: row, comment_id: above, voter: Set(text) }, kind.inside).await,
        }
    }

    fn swept(&self, over: Over) -> &SweepConnection {
        if over == Over::Memcached { &self.memcached } else { &self.embedded }
    }
}

/// What an application writes, whatever its connection.
async fn save<D, A>(db: &D, row: A, inside: bool) -> Result<(), DbErr>
where
    D: ConnectionTrait + TransactionTrait,
    A: ActiveModelTrait + ActiveModelBehavior + Send,
    <A::Entity as EntityTrait>::Model: IntoActiveModel<A>,
{
    if !inside {
        return row.update(db).await.map(drop);
    }
    let txn = db.begin().await?;
    row.update(&txn).await?;
    txn.commit().await
}

/// Waits until the store's node is used: a new one is bypassed for the longest hold.
async fn warm_up(sweeper: &Sweeper) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let render = async || Ok::<_, std::convert::Infallible>("warm");
        let served = sweeper.fragment(RecordKey::new("saves_s_article", 0), "warm").get_or_render(render).await?;
        if served.outcome().word() != "bypass" {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("the store is bypassed for 30 s: {:?}", served.outcome()).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Saver for Connections {
    const PREFIX: &'static str = "saves_s_";

    fn save(&mut self, over: Over, kind: Kind, id: i64, text: &str) -> Result<Duration, Failure> {
        let (pools, text) = (self.pools.clone(), text.to_owned());
        // In a task, as where requests are answered.
        let saving = self.runtime.spawn(async move {
            let began = Instant::now();
            pools.save(over, kind, id, text).await.map(|()| began.elapsed())
        });
        Ok(self.runtime.block_on(saving)??)
    }

    fn sent(&self, over: Over) -> (u64, u64) {
        if over == Over::Bare {
            return (0, 0);
        }
        let stats = self.pools.swept(over).sweeper().stats();
        (stats.round_trips, stats.store_operations)
    }
}
