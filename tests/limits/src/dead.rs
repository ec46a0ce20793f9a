//! A writer that is killed after its mark: for how long its record is bypassed, and who notices.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cachesweeper_core::RecordKey;
use cachesweeper_core::blocking::Sweeper;
use clap::Args;
use serde_json::{Value, json};

use crate::Failure;
use crate::measure::{Place, millis};

/// A writer that is killed after its mark.
#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(flatten)]
    place: Place,
}

/// The writer that is killed.
#[derive(Debug, Args)]
pub(crate) struct Writer {
    #[command(flatten)]
    place: Place,
}

fn key(id: u64) -> RecordKey {
    RecordKey::new("dead", id)
}

fn word(sweeper: &Sweeper, id: u64) -> Result<&'static str, Failure> {
    let render = || Ok::<_, std::convert::Infallible>("<p>dead</p>");
    Ok(sweeper.fragment(key(id), "dead.html").get_or_render(render)?.outcome().word())
}

impl Writer {
    /// Marks record 1, and waits to be killed.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let sweeper = self.place.sweeper(self.place.store())?;
        let _mark = sweeper.mark(&[key(1)])?;
        println!("marked");
        std::io::stdout().flush()?;
        std::thread::sleep(Duration::from_secs(60));
        Err("nobody has killed it".into())
    }
}

impl Dead {
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let Some(memcached) = &self.place.memcached else {
            return Err("only another process's death can be seen: give --memcached".into());
        };
        let sweeper = self.place.sweeper(self.place.store())?;
        for id in [1, 2] {
            word(&sweeper, id)?;
        }
        let both_are_hits = word(&sweeper, 1)? == "hit" && word(&sweeper, 2)? == "hit";
        let mut writer = Command::new(std::env::current_exe()?);
        let mut writer = writer.args(["writer", "--memcached", memcached]).stdout(Stdio::piped()).spawn()?;
        let mut said = String::new();
        BufReader::new(writer.stdout.take().ok_or("it was piped")?).read_line(&mut said)?;
        let marked = Instant::now();
        // SIGKILL on Unix.
        writer.kill()?;
        writer.wait()?;
        let (mut bypassed, mut others, mut others_hit) = (0_u64, 0_u64, 0_u64);
        let first = loop {
            match word(&sweeper, 1)? {
                "bypass" => bypassed += 1,
                other => break other,
            }
            others += 1;
            others_hit += u64::from(word(&sweeper, 2)? == "hit");
            std::thread::sleep(Duration::from_millis(5));
        };
        let held = marked.elapsed();
        let config = sweeper.config();
        Ok(json!({
            "what": "dead", "store": self.place.word(), "both_were_hits": both_are_hits, "said": said.trim(),
            "hold_ms": millis(config.hold), "skew_ms": millis(config.max_clock_skew), "bypassed_for_ms": millis(held),
            "reads_bypassed": bypassed, "then": first, "after_it": word(&sweeper, 1)?, "reads_of_another_record": others, "of_those_hits": others_hit,
        }))
    }
}
