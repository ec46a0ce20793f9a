//! What a writer does to itself at named points of a write.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::Failed;
use crate::spec::{Harm, Spec};

/// Makes the library's points do what the spec says, for as long as its file is there.
pub(super) fn install(spec: &Spec) -> Result<(), Failed> {
    for point in &spec.points {
        let (armed, per_mille, harm) = (spec.armed.clone(), point.per_mille, point.harm);
        fail::cfg_callback(point.name.clone(), move || {
            if fastrand::u32(..1_000) >= per_mille || !armed.exists() {
                return;
            }
            let _ = match harm {
                Harm::Kill => kill_process(getpid(), Signal::KILL),
                Harm::Stop => kill_process(getpid(), Signal::STOP),
                Harm::Pause(ms) => {
                    std::thread::sleep(Duration::from_millis(ms));
                    Ok(())
                }
            };
        })?;
    }
    Ok(())
}
