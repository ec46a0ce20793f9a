//! Serving the site: opening it, filling it, and a clean end.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use blog_site::cli::{Places, Serve};
use blog_site::views::Templates;
use blog_site::{made_up, replay, stories};
use cachesweeper_seaorm::{Builder, SweepConnection, Sweeper};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Fatal;
use crate::blog::Blog;
use crate::cache::Cache;
use crate::{database, routes, write};

/// The memory store's size.
const MEMORY: u64 = 256 << 20;
/// How long requests may take that are under way when the program is asked to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// A sweeper in the making, on the store that the options name.
pub(crate) fn sweeper(places: &Places) -> Builder<Sweeper> {
    match places.memcached.as_slice() {
        [] => Sweeper::builder().memory(MEMORY),
        servers => Sweeper::builder().memcached(servers),
    }
}

/// Serves the site until it is asked to end.
pub(crate) async fn serve(options: &Serve) -> Result<(), Fatal> {
    let imported = options.stories.as_deref().map(|file| stories::read_file(file, None)).transpose()?;
    let sweeper = sweeper(&options.places).namespace("blog").build()?;
    let db = database::connect(&options.database_url, 16).await?;
    database::prepare(&db, &options.database_url, false).await?;
    let db = SweepConnection::new(db, sweeper.clone());
    let blog = Arc::new(Blog { db, cache: Cache::Sweeper(sweeper), templates: Templates::new()? });
    // Before anything is imported, so that a port in use is told at once.
    let listener = TcpListener::bind(options.listen).await.map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    match imported {
        Some(stories) => import(&blog, &stories).await?,
        None if database::is_empty(&blog.db).await? => {
            for article in made_up::demo() {
                write::add_made_up(&blog, &article).await?;
            }
        }
        None => {}
    }
    // Not `println!`, which panics when standard output is closed.
    let _ = writeln!(std::io::stdout(), "http://{}", listener.local_addr()?);
    run(listener, blog.clone()).await?;
    blog.db.inner().close_by_ref().await?;
    Ok(())
}

async fn import(blog: &Blog, stories: &[stories::Story]) -> Result<(), Fatal> {
    let bar = replay::progress(stories.len() as u64, "importing");
    let mut added = 0;
    for chunk in stories.chunks(500) {
        added += blog.import(chunk).await?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let _ = writeln!(std::io::stderr(), "imported {added} stories; {} were there already", stories.len() - added);
    Ok(())
}

/// Answers requests until a signal comes, and those under way then.
async fn run(listener: TcpListener, blog: Arc<Blog>) -> Result<(), Fatal> {
    let (ending, mut ended) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        let _ = ending.send(true);
    });
    let mut patience = ended.clone();
    let server = axum::serve(listener, routes::router(blog)).with_graceful_shutdown(async move {
        let _ = ended.wait_for(|ended| *ended).await;
    });
    tokio::select! {
        result = server.into_future() => Ok(result?),
        () = async {
            let _ = patience.wait_for(|ended| *ended).await;
            tokio::time::sleep(LAST_REQUESTS).await;
        } => Ok(()),
    }
}

/// Waits until the program is asked to end.
pub(crate) async fn signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
