//! Tailscale's derper on loopback, with a certificate of our own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::BenchError;

/// The name that it serves.
pub(super) const HOST: &str = "derp.test";
const START_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// A running derper; it ends with this.
#[derive(Debug)]
pub(super) struct Derper {
    child: Child,
    pub(super) addr: SocketAddr,
    directory: tempfile::TempDir,
}

/// The program: as it was named, or where `PATH` or Go has it.
pub(super) fn find(named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
    let bin = std::env::var_os("GOBIN").map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(home).chain(bin);
    let mut files = folders.map(|folder| folder.join("derper"));
    files.find(|file| file.is_file())
}

/// What it says that it is.
pub(super) fn version(program: &Path) -> String {
    let said = Command::new(program).arg("-version").output();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned());
    let version = said.unwrap_or_default();
    // A derper that Go has installed adds what it does not know of its own build.
    let number = version.split(['-', '\n']).next().unwrap_or_default();
    match number {
        "" => "of unknown version".to_owned(),
        number => number.to_owned(),
    }
}

impl Derper {
    pub(super) fn start(program: &Path) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])
            .map_err(|error| failed(&error.to_string()))?;
        fs::write(at(&format!("{HOST}.crt")), made.cert.pem())?;
        fs::write(at(&format!("{HOST}.key")), made.signing_key.serialize_pem())?;
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = File::create(at("log"))?;
        let child = Command::new(program)
            .args(["-a", &addr.to_string(), "-certmode", "manual"])
            .args(["-hostname", HOST, "-http-port", "-1", "-stun=false"])
            .arg("-certdir")
            .arg(directory.path())
            .arg("-c")
            .arg(at("derper.json"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut derper = Self {
            child,
            addr,
            directory,
        };
        derper.wait_until_it_listens()?;
        Ok(derper)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), BenchError> {
        let end = Instant::now() + START_PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                let log = self.directory.path().join("log");
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(failed(&format!("ended with {status}: {}", said.trim())));
            }
            if TcpStream::connect_timeout(&self.addr, LOOK).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(failed("does not listen"))
    }
}

impl Drop for Derper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(why: &str) -> BenchError {
    BenchError::Failed {
        what: "derper".to_owned(),
        why: why.to_owned(),
    }
}
