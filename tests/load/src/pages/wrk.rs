//! wrk: a load, and what it tells at its end.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cachesweeper_servers::ending_with_us;
use serde::Deserialize;

use crate::Failure;

/// Runs at wrk's end only, so that it costs no request anything.
const TELL: &str = r#"
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"micros":%d,"p50_us":%d,"p99_us":%d,"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"#;

/// What wrk has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Answered {
    pub(super) requests: u64,
    micros: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    /// Answers that are no pages.
    pub(super) status_errors: u64,
    /// Requests without an answer.
    pub(super) socket_errors: u64,
}

impl Answered {
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / (self.micros.max(1) as f64)
    }
}

/// Says what to do if there is no wrk.
pub(super) fn find() -> Result<(), Failure> {
    // Its version comes with exit code 1.
    let found = Command::new("wrk").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.map(drop).map_err(|error| format!("wrk could not be run ({error}): apt-get install wrk").into())
}

/// Asks for a page again and again, for so long, over so many connections.
pub(super) fn load(url: &str, connections: u32, time: Duration) -> Result<Answered, Failure> {
    let mut script = tempfile::Builder::new().prefix("wrk.").suffix(".lua").tempfile()?;
    script.write_all(TELL.as_bytes())?;
    let mut command = ending_with_us(Path::new("wrk"));
    command.args(["-t", "1", "-c", &connections.to_string(), "-d", &format!("{}s", time.as_secs()), "--timeout", "5s", "-s"]);
    let output = command.arg(script.path()).arg(url).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).ok_or_else(|| format!("wrk {url} has failed: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn read(output: &str) -> Option<Answered> {
    serde_json::from_str(output.lines().rfind(|line| line.starts_with('{'))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_last_words_are_read() {
        let output = "Running 1s test @ http://127.0.0.1:1/\n  1 threads\n\n\
                      {\"requests\":500,\"micros\":2000000,\"p50_us\":7,\"p99_us\":9,\"status_errors\":1,\"socket_errors\":2}\n";
        let answered = read(output).expect("they are there");
        assert_eq!((answered.per_second(), answered.p99_us, answered.status_errors, answered.socket_errors), (250.0, 9, 1, 2));
        assert_eq!(read("unable to connect to 127.0.0.1:1"), None);
    }
}
