//! The orchestrator: servers, phases, and what comes out.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::audit::{Findings, Terms, audit};
use crate::cli::{DatabaseChoice, OrmChoice, RunArgs};
use crate::crew::Crew;
use crate::db::Db;
use crate::history;
use crate::nemesis::Nemesis;
use crate::phases::{Expected, Fault, Phase, QUICK, all};
use crate::report::{Outcome, Report, Setting};
use crate::servers::{DatabaseKind, DatabaseServer};
use crate::spec::{Naive, Orm, Role, Spec, Times};
use crate::worker::Failed;

/// Set by Ctrl-C, or SIGTERM: everything is taken down in order.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long the load goes on after the faults: the hit ratio has to come back in that time.
const RECOVERY: Duration = Duration::from_secs(4);
/// What has been owed to a store must have been delivered so long after the faults.
const DELIVERY: Duration = Duration::from_secs(1);

/// Runs what was asked for; `true` if all came out as expected.
pub(crate) fn run(args: &RunArgs) -> Result<bool, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        runtime.spawn(async move {
            if let Ok(mut signals) = signal(kind) {
                signals.recv().await;
                INTERRUPTED.store(true, Ordering::SeqCst);
            }
        });
    }
    let tmp = tempfile::Builder::new().prefix("cachesweeper-chaos.").tempdir_in(std::env::temp_dir())?;
    // The servers run as other users.
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(tmp.path(), std::fs::Permissions::from_mode(0o755))?;
    let binary = memcached_binary(args)?;
    let mut report = Report::new(&binary)?;
    for kind in args.database.kinds(args.quick) {
        let server = DatabaseServer::start(kind, tmp.path())?;
        for orms in args.orm.crews() {
            let stage = Stage { args, tmp: tmp.path(), binary: &binary, database: &server.url, kind, orms, runtime: runtime.handle() };
            stage.play(&mut report)?;
        }
    }
    report.print();
    if let Some(file) = &args.json {
        report.write_json(file)?;
    }
    Ok(report.is_good())
}

fn memcached_binary(args: &RunArgs) -> Result<PathBuf, Failed> {
    if let Some(binary) = &args.memcached_bin {
        return Ok(binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("memcached")).find(|file| file.is_file());
    Ok(found.ok_or("memcached is not installed: install it, or say where it is by --memcached-bin")?)
}

impl DatabaseChoice {
    fn kinds(self, quick: bool) -> Vec<DatabaseKind> {
        match self {
            Self::Postgres => vec![DatabaseKind::Postgres],
            Self::Mariadb => vec![DatabaseKind::MariaDb],
            Self::Both if quick => vec![DatabaseKind::Postgres],
            Self::Both => vec![DatabaseKind::Postgres, DatabaseKind::MariaDb],
        }
    }
}

/// How many faults there were, and from when until when.
pub(crate) type Faults = (u64, (u64, u64));

/// Which ORMs take part in a phase at the same time.
type Orms = &'static [Orm];

impl OrmChoice {
    fn crews(self) -> Vec<Orms> {
        match self {
            Self::Seaorm => vec![&[Orm::Seaorm]],
            Self::Diesel => vec![&[Orm::Diesel]],
            Self::Both => vec![&[Orm::Seaorm, Orm::Diesel]],
            Self::Each => vec![&[Orm::Seaorm], &[Orm::Diesel]],
        }
    }
}

/// One database and one crew: what its phases share.
#[derive(Clone, Copy)]
struct Stage<'a> {
    args: &'a RunArgs,
    tmp: &'a Path,
    binary: &'a Path,
    database: &'a str,
    kind: DatabaseKind,
    orms: Orms,
    runtime: &'a tokio::runtime::Handle,
}

impl Stage<'_> {
    fn play(self, report: &mut Report) -> Result<(), Failed> {
        let orms = self.orms.iter().map(|orm| format!("{orm:?}").to_lowercase()).collect::<Vec<_>>().join("+");
        // A quick run is a test, and a test asserts no time.
        let setting = Setting { orms: &orms, database: self.kind.name(), naive: self.args.naive, timed: !self.args.quick };
        if let Some(scheme) = self.args.naive {
            for name in ["none", "kill-before-release"] {
                let mut phase = all().into_iter().find(|phase| phase.name == name).ok_or("a phase is gone")?;
                phase.expected = Expected::Stale;
                let (findings, faults) = self.perform(&phase, Some(scheme))?;
                report.add(Outcome::new(&phase, &setting, findings, faults, None));
            }
            return Ok(());
        }
        if !self.args.broken.is_empty() {
            for assumption in &self.args.broken {
                let phase = assumption.phase();
                let (findings, faults) = self.perform(&phase, None)?;
                report.add(Outcome::new(&phase, &setting, findings, faults, None));
            }
            return Ok(());
        }
        let mut baselines = [None, None];
        for phase in self.chosen()? {
            let baseline = &mut baselines[usize::from(phase.strict)];
            let (findings, faults) = self.perform(&phase, None)?;
            let outcome = Outcome::new(&phase, &setting, findings, faults, *baseline);
            if phase.is_baseline() {
                *baseline = Some(outcome.baseline());
            }
            report.add(outcome);
        }
        if self.args.quick {
            // The same eyes must see what is stale.
            let mut phase = all().swap_remove(0);
            phase.expected = Expected::Stale;
            let (findings, faults) = self.perform(&phase, Some(Naive::AfterSave))?;
            let setting = Setting { naive: Some(Naive::AfterSave), ..setting };
            report.add(Outcome::new(&phase, &setting, findings, faults, None));
        }
        Ok(())
    }

    /// The phases that were asked for; the one without faults comes first, since the others are compared with it.
    fn chosen(self) -> Result<Vec<Phase>, Failed> {
        let asked: Vec<&str> = match &self.args.phases[..] {
            [] if self.args.quick => QUICK.to_vec(),
            [] => return Ok(all()),
            phases => phases.iter().map(String::as_str).collect(),
        };
        for name in &asked {
            if !all().iter().any(|phase| phase.name == *name) {
                let names = all().iter().map(|phase| phase.name).collect::<Vec<_>>().join(", ");
                return Err(format!("there is no phase {name}; there are {names}").into());
            }
        }
        let strict = all().iter().any(|phase| phase.strict && asked.contains(&phase.name));
        let wanted = |phase: &Phase| asked.contains(&phase.name) || phase.is_baseline() && (!phase.strict || strict);
        Ok(all().into_iter().filter(wanted).collect())
    }

    fn seconds(self) -> Duration {
        Duration::from_secs(self.args.seconds_per_phase.unwrap_or(if self.args.quick { 3 } else { 8 }))
    }

    /// Plays one phase, and lets the auditor judge it. Also how many faults there were.
    fn perform(self, phase: &Phase, naive: Option<Naive>) -> Result<(Findings, Faults), Failed> {
        let mut admin = Db::open(self.database)?;
        admin.reset()?;
        let folder = tempfile::Builder::new().prefix("phase.").tempdir_in(self.tmp)?;
        let database_port: u16 = port_of(self.database)?;
        let mut nemesis = Nemesis::prepare(phase.fault, self.binary, self.tmp, self.runtime, database_port)?;
        let times = Times { hold_ms: phase.hold_ms.unwrap_or(Times::default().hold_ms), ..Times::default() };
        let ms = Duration::from_millis;
        let over = ms(times.hold_ms + 2 * times.skew_ms + 300);
        let mut crew = Crew::new(folder.path(), over, !phase.points.is_empty());
        let armed = folder.path().join("armed");
        for orm in self.orms {
            for role in [Role::Writer, Role::Reader] {
                for member in 0..if self.orms.len() > 1 { 2 } else { 3 } {
                    let reader = role == Role::Reader;
                    let database = match &nemesis.database_proxy {
                        Some(proxy) if !reader => self.database.replacen(&format!(":{database_port}/"), &format!(":{}/", proxy.port), 1),
                        _ => self.database.to_owned(),
                    };
                    crew.add(Spec {
                        orm: *orm,
                        role,
                        number: 0,
                        tasks: 2,
                        think_ms: if reader { 3 } else { phase.think_ms },
                        database,
                        nodes: nemesis.addresses(),
                        namespace: "chaos".to_owned(),
                        history: PathBuf::new(),
                        times,
                        abort: phase.abort,
                        strict: phase.strict,
                        // Beside readers without: what either stores, the other reads.
                        near: reader && member == 1,
                        naive,
                        points: if reader { Vec::new() } else { phase.points.clone() },
                        armed: armed.clone(),
                        clock_ahead_ms: if reader { phase.readers_ahead_ms } else { 0 },
                        undeclared: phase.undeclared,
                        raw_sql: phase.raw_sql,
                    })?;
                }
            }
        }
        // Until the nodes' quarantine is over and there is something to hit.
        watch(ms(times.plain_hold_ms + 2 * times.skew_ms + if phase.strict { 3_000 } else { 1_800 }), &mut crew, None)?;
        let from = history::now();
        std::fs::write(&armed, "")?;
        nemesis.begin()?;
        watch(self.seconds(), &mut crew, Some(&mut nemesis))?;
        std::fs::remove_file(&armed)?;
        nemesis.end()?;
        let until = history::now();
        watch(RECOVERY, &mut crew, None)?;
        let faults = nemesis.faults() + crew.deaths + crew.stops;
        let histories = crew.finish()?;
        let terms = Terms {
            // A broken condition is no excuse where it is broken on purpose.
            hold: if phase.expected == Expected::Clean { times.hold_ms * 1_000_000 } else { u64::MAX },
            settled: until + u64::try_from(DELIVERY.as_nanos())?,
            excuse_unmarked: phase.expected == Expected::Clean,
            faults: (from, until),
        };
        if let Some(keep) = &self.args.keep {
            let to = keep.join(format!("{}-{}", self.kind.name(), phase.name.replace([' ', ':'], "-")));
            std::fs::create_dir_all(&to)?;
            for entry in std::fs::read_dir(folder.path())? {
                let entry = entry?;
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        let findings = audit(terms, &histories, &admin.events()?, &admin.rows()?);
        Ok((findings, (faults, (from, until))))
    }
}

/// Lets time pass, and looks after the crew and the faults.
fn watch(time: Duration, crew: &mut Crew, mut nemesis: Option<&mut Nemesis>) -> Result<(), Failed> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if INTERRUPTED.load(Ordering::SeqCst) {
            return Err("interrupted".into());
        }
        crew.tick()?;
        if let Some(nemesis) = nemesis.as_deref_mut() {
            nemesis.tick()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn port_of(url: &str) -> Result<u16, Failed> {
    let port = url.rsplit_once('/').and_then(|(server, _)| server.rsplit_once(':')?.1.parse().ok());
    Ok(port.ok_or_else(|| format!("{url}: there is no port in it"))?)
}

/// Whether the fault is one of the database's, whose failures are not the store's.
pub(crate) fn is_of_database(fault: Fault) -> bool {
    matches!(fault, Fault::Database(_))
}
