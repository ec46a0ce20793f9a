//! What the sites' programs do, from their arguments to their exit code.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::replay::command;
use crate::{Site, serve};

/// Usage and input errors, and whatever else keeps the program from running.
const FAILED: u8 = 2;

/// Serves the site, or replays, as the command line says.
pub fn run<S: Site>() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let result = match cli.command {
        None => runtime.block_on(serve::serve::<S>(cli.serve)).map(|()| ExitCode::SUCCESS),
        Some(Command::Replay(options)) => runtime.block_on(command::replay::<S>(*options)),
    };
    // A thread that waits for a database must not keep the program.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &dyn fmt::Display) -> ExitCode {
    // Standard error may be closed, which is no reason to panic.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(FAILED)
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
