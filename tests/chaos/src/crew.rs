//! The worker processes of a phase: started, started again when they die, let go on when they have stopped, ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::history::{self, History};
use crate::spec::Spec;
use crate::worker::Failed;

/// One place in the crew, with whoever holds it now.
#[derive(Debug)]
struct Place {
    spec: Spec,
    child: Child,
    /// Since when it has been stopped.
    stopped: Option<Instant>,
}

/// All workers.
#[derive(Debug)]
pub(crate) struct Crew {
    places: Vec<Place>,
    /// Files of those who have ended, and when they died.
    files: Vec<(PathBuf, Option<u64>)>,
    numbers: i64,
    folder: PathBuf,
    /// How long a stopped worker stays so.
    stop_for: Duration,
    /// Whether a worker may die; else its death is an error.
    mortal: bool,
    pub(crate) deaths: u64,
    pub(crate) stops: u64,
}

impl Crew {
    pub(crate) fn new(folder: &Path, stop_for: Duration, mortal: bool) -> Self {
        Self { places: Vec::new(), files: Vec::new(), numbers: 0, folder: folder.to_owned(), stop_for, mortal, deaths: 0, stops: 0 }
    }

    pub(crate) fn add(&mut self, mut spec: Spec) -> Result<(), Failed> {
        let child = self.spawn(&mut spec)?;
        self.places.push(Place { spec, child, stopped: None });
        Ok(())
    }

    fn spawn(&mut self, spec: &mut Spec) -> Result<Child, Failed> {
        self.numbers += 1;
        spec.number = self.numbers;
        spec.history = self.folder.join(format!("{}.jsonl", self.numbers));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").arg("--spec").arg(serde_json::to_string(spec)?).stdin(Stdio::piped()).stdout(Stdio::null());
        let messages = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("messages.log"))?;
        Ok(command.stderr(messages).spawn()?)
    }

    /// A worker must not end so.
    fn failed(&self, status: ExitStatus) -> Failed {
        let messages = std::fs::read_to_string(self.folder.join("messages.log")).unwrap_or_default();
        let last: Vec<&str> = messages.lines().rev().take(10).collect();
        format!("a worker ended by itself ({status}): {}", last.into_iter().rev().collect::<Vec<_>>().join("\n")).into()
    }

    /// Looks after everybody.
    pub(crate) fn tick(&mut self) -> Result<(), Failed> {
        for position in 0..self.places.len() {
            let place = &mut self.places[position];
            if let Some(status) = place.child.try_wait()? {
                use std::os::unix::process::ExitStatusExt as _;
                if status.signal() != Some(Signal::KILL.as_raw()) || !self.mortal {
                    return Err(self.failed(status));
                }
                self.deaths += 1;
                self.files.push((place.spec.history.clone(), Some(history::now())));
                let mut spec = place.spec.clone();
                let child = self.spawn(&mut spec)?;
                self.places[position] = Place { spec, child, stopped: None };
                continue;
            }
            if is_stopped(place.child.id()) {
                let since = *place.stopped.get_or_insert_with(|| {
                    self.stops += 1;
                    Instant::now()
                });
                if since.elapsed() >= self.stop_for {
                    go_on(&place.child);
                    place.stopped = None;
                }
            } else {
                place.stopped = None;
            }
        }
        Ok(())
    }

    /// Asks all to end, and waits; then collects their histories.
    pub(crate) fn finish(mut self) -> Result<Vec<History>, Failed> {
        for place in &mut self.places {
            go_on(&place.child);
            drop(place.child.stdin.take());
        }
        let until = Instant::now() + Duration::from_secs(30);
        for mut place in std::mem::take(&mut self.places) {
            loop {
                if let Some(status) = place.child.try_wait()? {
                    if !status.success() {
                        return Err(self.failed(status));
                    }
                    self.files.push((place.spec.history.clone(), None));
                    break;
                }
                if Instant::now() > until {
                    place.child.kill()?;
                    place.child.wait()?;
                    self.files.push((place.spec.history.clone(), Some(history::now())));
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // One that died before it had begun has no history.
        let files = self.files.iter().filter(|(file, _)| file.exists());
        Ok(files.map(|(file, died)| History::read(file, *died)).collect::<Result<_, _>>()?)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for place in &mut self.places {
            let _ = place.child.kill();
            let _ = place.child.wait();
        }
    }
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name, which is in parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn go_on(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::CONT);
    }
}
