//! Serving the site: opening it, filling it, and a clean end.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::Serve;
use crate::made_up::{self, MadeUpArticle};
use crate::run::signal;
use crate::site::{Caching, Opening, Site, SiteError, Write};
use crate::stories::{self, Story};
use crate::{database, replay, routes};

/// How long requests may take that are under way when the program is asked to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Serves the site until it is asked to end.
pub(crate) async fn serve<S: Site>(options: Serve) -> Result<(), SiteError> {
    let imported = options.stories.as_deref().map(|file| stories::read_file(file, None)).transpose()?;
    let opening = Opening {
        database: options.database_url.parse()?,
        tasks: 16,
        memcached: options.places.memcached,
        namespace: "blog".to_owned(),
        plain_hold: None,
        strict: options.places.strict,
        caching: if options.no_cache { Caching::Off } else { Caching::Sweeper },
    };
    let url = opening.database.clone();
    let site = Arc::new(S::open(opening).await?);
    database::prepare(&*site, &url, false).await?;
    // Before anything is imported, so that a port in use is told at once.
    let listen = TcpListener::bind(options.listen).await;
    let listener = listen.map_err(|error| SiteError::new(format!("cannot listen on {}: {error}", options.listen)))?;
    match imported {
        Some(stories) => import(&*site, &stories).await?,
        None if site.is_empty().await? => {
            for article in made_up::demo() {
                add_made_up(&*site, &article).await?;
            }
        }
        None => {}
    }
    // Not `println!`, which panics when standard output is closed.
    let _ = writeln!(std::io::stdout(), "http://{}", listener.local_addr()?);
    run(listener, site.clone()).await?;
    site.close().await
}

async fn import<S: Site>(site: &S, stories: &[Story]) -> Result<(), SiteError> {
    let added = replay::import(site, stories).await?;
    let _ = writeln!(std::io::stderr(), "imported {added} stories; {} were there already", stories.len() - added);
    Ok(())
}

/// Adds an article of the demo's data with its comments and votes.
pub(crate) async fn add_made_up<S: Site>(site: &S, made_up: &MadeUpArticle) -> Result<(), SiteError> {
    let (article, at) = (made_up.story.id, made_up.story.created_at);
    let visitor = || "visitor".to_owned();
    site.add_articles(std::slice::from_ref(&made_up.story)).await?;
    let mut writes: Vec<Write> = (0..made_up.votes).map(|_| Write::VoteOnArticle { voter: visitor() }).collect();
    let mut ids: Vec<i64> = Vec::with_capacity(made_up.comments.len());
    for comment in &made_up.comments {
        let parent = comment.parent.and_then(|position| ids.get(position).copied());
        // With the votes before it. Its id is known when all of this is committed.
        writes.push(Write::Comment { parent, author: comment.author.clone(), text: comment.text.clone() });
        ids.extend(write(site, article, &mut writes, comment.created_at).await?);
        let votes = ids.last().into_iter().flat_map(|&id| (0..comment.votes).map(move |_| id));
        writes.extend(votes.map(|comment| Write::VoteOnComment { comment, voter: visitor() }));
    }
    write(site, article, &mut writes, at).await?;
    Ok(())
}

async fn write<S: Site>(site: &S, article: i64, writes: &mut Vec<Write>, at: DateTime<Utc>) -> Result<Vec<i64>, SiteError> {
    let added = site.write(article, writes, at).await?;
    writes.clear();
    Ok(added.comments)
}

/// Answers requests until a signal comes, and those under way then.
async fn run<S: Site>(listener: TcpListener, site: Arc<S>) -> Result<(), SiteError> {
    let (ending, mut ended) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        let _ = ending.send(true);
    });
    let mut patience = ended.clone();
    let server = axum::serve(listener, routes::router(site)).with_graceful_shutdown(async move {
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
