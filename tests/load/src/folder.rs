//! One temporary folder for everything, which is removed at the end, also if that comes by a signal.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Makes the folder in which all other temporary ones are made from now on.
pub(crate) fn make() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("cachesweeper-load.").tempdir()?;
    // The servers run as other users.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    tempfile::env::override_temp_dir(folder.path()).map_err(|_| "the temporary folder was set already")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        if runtime.block_on(told_to_end()).is_ok() {
            remove(&path);
            // All servers end with the main thread.
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(folder)
}

async fn told_to_end() -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The servers are at work in it still, so it may take more than one try.
fn remove(path: &Path) {
    for _ in 0..10 {
        if std::fs::remove_dir_all(path).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
