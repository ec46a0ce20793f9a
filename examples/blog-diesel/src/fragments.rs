//! How a page's fragments are looked up and rendered, by whichever cache it has.

use std::time::{Duration, Instant};

use blog_site::SiteError;
use blog_site::cache::{Cache, Piece};
use blog_site::sitting::{Name, Sitting};
use cachesweeper_diesel::{CacheSweep, Dependencies, Sweeper};

/// One fragment of what it depends on.
pub(crate) fn fragment<D, F>(sitting: &Sitting<'_, Sweeper>, on: D, name: Name<'_>, render: F) -> Result<Piece, SiteError>
where
    D: Dependencies,
    F: FnOnce() -> Result<String, SiteError>,
{
    match sitting.cache() {
        Cache::Sweeper(sweeper) => {
            let mut fragment = sweeper.fragment(on, name.name);
            if let Some(part) = name.vary {
                fragment = fragment.vary(part);
            }
            let rendered = fragment.get_or_render(render)?;
            sitting.saw(name, &rendered);
            Ok(rendered.into())
        }
        Cache::Other(scheme) => match scheme.look_up(name.home.clone(), name.whole()) {
            Ok(piece) => Ok(piece),
            Err(vacancy) => Ok(vacancy.fill(render()?)),
        },
    }
}

/// One fragment per row; `render` is called once, with the rows that have no valid version.
pub(crate) fn fragments<T, F>(sitting: &Sitting<'_, Sweeper>, rows: &[T], name: &str, render: F) -> Result<Vec<Piece>, SiteError>
where
    T: CacheSweep,
    F: FnOnce(&[&T]) -> Result<Vec<String>, SiteError>,
{
    match sitting.cache() {
        Cache::Sweeper(sweeper) => {
            let mut rendering = Duration::ZERO;
            let rendered = sweeper.fragments(rows, name).get_or_render(|missing| {
                let began = Instant::now();
                let pieces = render(missing);
                rendering = began.elapsed();
                pieces
            })?;
            sitting.saw_each(rows, name, &rendered, rendering);
            Ok(rendered.into_iter().map(Piece::from).collect())
        }
        Cache::Other(scheme) => {
            let looked = scheme.look_up_each(rows, name);
            let missing = looked.missing();
            let fresh = if missing.is_empty() { Vec::new() } else { render(&missing)? };
            Ok(looked.fill(fresh))
        }
    }
}
