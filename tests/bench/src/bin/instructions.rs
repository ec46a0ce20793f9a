//! Counts the instructions of the paths that do no I/O, under valgrind, and compares them with those on record: what noise cannot trip.
//!
//! ```text
//! cargo run --release -p cachesweeper-bench --bin instructions -- check
//! cargo run --release -p cachesweeper-bench --bin instructions -- record    # after a change that is worth its price
//! ```
//!
//! The count of a path is `(I(2n) - I(n)) / n` for the instructions `I(n)` of a process that takes it `n` times: what it takes to
//! get ready is in both, and drops out. Hashes are seeded anew in each process, and some seeds are unlucky: so `I(n)` is the least
//! of several processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use cachesweeper_bench::Failure;
use cachesweeper_bench::paths::{PATHS, Path, Steady, named};
use clap::{Parser, Subcommand};

/// By how much a count may differ from the one on record, in per cent.
const TOLERANCE: u64 = 10;

/// Counts the instructions of the paths that do no I/O.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// The counts on record.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"))]
    file: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Fails if a count has grown by more than 10 per cent, or if the file names other paths than there are.
    Check,
    /// Writes the counts to the file.
    Record,
    /// Takes one path so many times; for valgrind.
    Path {
        /// Which.
        name: String,
        /// How many times.
        calls: u32,
    },
}

/// How many processes at most tell one number. Most paths have no hashes in them, and two that agree are enough.
const PROCESSES: usize = 6;
/// Two numbers agree if they differ by at most one in so many.
const AGREED: u64 = 500;

type Counts = BTreeMap<String, u64>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.what {
        What::Path { name, calls } => take(name, *calls).map(|()| true),
        What::Record => record(&cli.file).map(|()| true),
        What::Check => check(&cli.file),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn take(name: &str, calls: u32) -> Result<(), Failure> {
    let path = named(name).ok_or("there is no path of that name")?;
    let mut call = path.make(Arc::new(Steady::default()))?;
    for _ in 0..calls {
        call()?;
    }
    Ok(())
}

fn record(file: &std::path::Path) -> Result<(), Failure> {
    let counts = count_all()?;
    std::fs::write(file, serde_json::to_string_pretty(&counts)? + "\n")?;
    for (name, count) in &counts {
        println!("{count:>9}  {name}");
    }
    println!("written to {}", file.display());
    Ok(())
}

fn check(file: &std::path::Path) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}. Run `instructions record` first", file.display()))?;
    let recorded: Counts = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let stray = recorded.keys().filter(|name| named(name).is_none()).map(|name| format!("{name:?} is on record, and no path any more"));
    let missing = PATHS.iter().filter(|path| !recorded.contains_key(path.name)).map(|path| format!("{:?} is not on record", path.name));
    let differences: Vec<String> = stray.chain(missing).collect();
    if !differences.is_empty() {
        return Err(format!("{}: {}. Run `instructions record`", file.display(), differences.join("; ")).into());
    }
    let mut good = true;
    for (name, count) in count_all()? {
        let (verdict, is_good) = judge(recorded[&name], count);
        println!("{count:>9}  {name}: {verdict}");
        good &= is_good;
    }
    if !good {
        eprintln!(
            "error: a path has grown by more than {TOLERANCE} per cent (another compiler or dependency can do that too). If that is worth it, say why in the commit that runs `instructions record`"
        );
    }
    Ok(good)
}

/// What to say of a count, and whether it is as it should be.
fn judge(recorded: u64, count: u64) -> (String, bool) {
    let percent = (count as f64 / recorded.max(1) as f64 - 1.0) * 100.0;
    if count * 100 > recorded * (100 + TOLERANCE) {
        (format!("{percent:+.1} % over the {recorded} on record: TOO MANY"), false)
    } else if count * 100 < recorded * (100 - TOLERANCE) {
        (format!("{percent:+.1} % of the {recorded} on record: `instructions record` keeps it there"), true)
    } else {
        (format!("{percent:+.1} %"), true)
    }
}

fn count_all() -> Result<Counts, Failure> {
    if cfg!(debug_assertions) {
        return Err("this is a debug build, whose counts say nothing: use `cargo run --release`".into());
    }
    let version = Command::new("valgrind").arg("--version").output();
    version.map_err(|error| format!("valgrind cannot be started ({error}): install it, for example with `apt-get install valgrind`"))?;
    PATHS.iter().map(|path| Ok((path.name.to_owned(), count(path)?))).collect()
}

fn count(path: &Path) -> Result<u64, Failure> {
    let (once, twice) = (least(path, path.calls)?, least(path, 2 * path.calls)?);
    Ok(twice.saturating_sub(once) / u64::from(path.calls))
}

/// The least instructions that a process needs: those of two that agree on less than all others, or of the last.
fn least(path: &Path, calls: u32) -> Result<u64, Failure> {
    let mut seen = Vec::with_capacity(PROCESSES);
    for _ in 0..PROCESSES {
        seen.push(instructions(path, calls)?);
        seen.sort_unstable();
        if let [least, next, ..] = seen[..]
            && next - least <= least / AGREED
        {
            break;
        }
    }
    Ok(seen[0])
}

/// The instructions of a whole process.
fn instructions(path: &Path, calls: u32) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    let output = valgrind.arg(std::env::current_exe()?).args(["path", path.name, &calls.to_string()]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{:?} has ended with {} under valgrind: {said}", path.name, output.status).into());
    }
    refs(&said).ok_or_else(|| format!("valgrind tells no count of instructions, but: {said}").into())
}

/// The number in a line like `==123== I   refs:      1,234,567`.
fn refs(said: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.contains("refs:") && line.contains(" I "))?;
    line.rsplit(':').next()?.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_old_and_new_words() {
        assert_eq!(refs("==7== Cachegrind\n==7== I   refs:      1,234,567\n"), Some(1_234_567));
        assert_eq!(refs("==7== I refs:        89\n"), Some(89));
        assert_eq!(refs("==7== D   refs: 5\n"), None);
    }

    #[test]
    fn only_growth_fails() {
        assert!(judge(100, 110).1 && judge(100, 50).1);
        assert!(!judge(100, 111).1);
        assert!(judge(100, 50).0.contains("record"));
    }
}
