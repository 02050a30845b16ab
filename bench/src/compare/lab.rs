//! Two namespaces, a veth pair between them, and who runs on which core.
//!
//! The ends of the pair receive in kernel threads of their own (threaded NAPI), so that receive work
//! is billed to somebody: the server's end is pinned to the server's core, the generator's to the
//! generator's. GRO is on, as on any real interface, and TCP's segmentation offload is off. Nobody's
//! priority is raised: a receive thread that goes before the server it feeds wakes it for each packet.

use std::fs::{self, File};
use std::process::{Child, Command, Output, Stdio};

use crate::BenchError;

/// Address of the server's end.
pub(super) const SERVER_IP: &str = "10.77.0.1";

/// Address of the generator's end.
pub(super) const GENERATOR_IP: &str = "10.77.0.2";

/// Whose names our namespaces begin with; the rest is the process id.
const PREFIX: &str = "sterna-bench-";

/// The namespaces; dropping it removes them.
#[derive(Debug)]
pub(super) struct Lab {
    server: Side,
    generator: Side,
    /// Kernel threads that work for the server: its receive thread and its core's `ksoftirqd`.
    pub(super) server_threads: Vec<u32>,
}

/// One namespace with its end of the pair and its core.
#[derive(Clone, Debug)]
struct Side {
    namespace: String,
    device: String,
    core: u16,
}

impl Lab {
    pub(super) fn build(server_core: u16, generator_core: u16) -> Result<Self, BenchError> {
        remove_stale();
        let id = std::process::id();
        let side = |letter, core| Side {
            namespace: format!("{PREFIX}{letter}-{id}"),
            device: format!("sb{letter}{id}"),
            core,
        };
        let mut lab = Self {
            server: side('s', server_core),
            generator: side('g', generator_core),
            server_threads: Vec::new(),
        };
        let (server, generator) = (&lab.server, &lab.generator);
        ip(&["netns", "add", &server.namespace])?;
        ip(&["netns", "add", &generator.namespace])?;
        let ends = [&server.device, &generator.device];
        let queues = ["numtxqueues", "1", "numrxqueues", "1"];
        let peer = ["type", "veth", "peer", "name", ends[1]];
        let netns = ["netns", &generator.namespace];
        let named = ["-n", &server.namespace, "link", "add", ends[0]];
        ip(&[&named[..], &queues[..], &peer[..], &netns[..], &queues[..]].concat())?;
        server.raise(SERVER_IP)?;
        generator.raise(GENERATOR_IP)?;
        let receiver = server.pin_receive_thread()?;
        generator.pin_receive_thread()?;
        let softirq = find_thread(&format!("ksoftirqd/{server_core}"))?;
        lab.server_threads = vec![receiver, softirq];
        Ok(lab)
    }

    /// Whether groups cross the pair whole, as with an interface that cuts them itself.
    pub(super) fn leave_cutting_to_interface(&self, leave: bool) -> Result<(), BenchError> {
        for side in [&self.server, &self.generator] {
            let to = if leave { "on" } else { "off" };
            side.set_offload(&["tx-udp-segmentation", to])?;
        }
        Ok(())
    }

    /// Starts a program on the server's side and core; what it says goes to `log`.
    pub(super) fn start_server(&self, program: &[String], log: File) -> Result<Child, BenchError> {
        let mut command = self.server.command(program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().map_err(|error| failed(&program[0], &error))
    }

    /// Starts a program on the generator's side and core.
    pub(super) fn start_generator(&self, program: &[String]) -> Result<Child, BenchError> {
        let mut command = self.generator.command(program);
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        started.map_err(|error| failed(&program[0], &error))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for side in [&self.server, &self.generator] {
            // The pair goes with the first of them; a leftover is removed by the next run.
            let _ = ip(&["netns", "delete", &side.namespace]);
        }
    }
}

impl Side {
    /// `program` in this namespace and on this core; the process id stays the child's own.
    fn command(&self, program: &[String]) -> Command {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.namespace,
            "taskset",
            "-c",
            &self.core.to_string(),
        ]);
        command.args(program);
        command
    }

    fn raise(&self, addr: &str) -> Result<(), BenchError> {
        let (namespace, device) = (self.namespace.as_str(), self.device.as_str());
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            namespace,
            "addr",
            "add",
            &format!("{addr}/24"),
            "dev",
            device,
        ])?;
        ip(&["-n", namespace, "link", "set", device, "up"])?;
        self.set_offload(&["gro", "on", "tso", "off"])?;
        let threaded = format!("echo 1 > /sys/class/net/{device}/threaded");
        run(&["ip", "netns", "exec", namespace, "sh", "-c", &threaded])?;
        Ok(())
    }

    fn set_offload(&self, features: &[&str]) -> Result<(), BenchError> {
        let enter = [
            "ip",
            "netns",
            "exec",
            &self.namespace,
            "ethtool",
            "-K",
            &self.device,
        ];
        run(&[&enter[..], features].concat())?;
        Ok(())
    }

    fn pin_receive_thread(&self) -> Result<u32, BenchError> {
        let thread = find_thread(&format!("napi/{}-", self.device))?;
        let (core, id) = (self.core.to_string(), thread.to_string());
        run(&["taskset", "-pc", &core, &id])?;
        Ok(thread)
    }
}

/// The kernel thread whose name begins so.
fn find_thread(prefix: &str) -> Result<u32, BenchError> {
    // A name may be cut to 15 characters.
    let cut = &prefix[..prefix.len().min(15)];
    let processes = fs::read_dir("/proc").map_err(|error| failed("/proc", &error))?;
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_name = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == prefix || name.starts_with(cut)
    };
    pids.into_iter()
        .find(has_name)
        .ok_or_else(|| failed(prefix, &"no such kernel thread"))
}

/// Removes the namespaces of runs that were killed.
fn remove_stale() {
    let Ok(namespaces) = fs::read_dir("/run/netns") else {
        return;
    };
    for namespace in namespaces.flatten() {
        let Some(name) = namespace.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').nth(1)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<Output, BenchError> {
    run(&[&["ip"], arguments].concat())
}

fn run(program: &[&str]) -> Result<Output, BenchError> {
    let output = Command::new(program[0]).args(&program[1..]).output();
    let output = output.map_err(|error| failed(program[0], &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(&program.join(" "), &said))
}

/// An error of a tool.
pub(super) fn failed(what: &str, why: &dyn std::fmt::Display) -> BenchError {
    BenchError::Failed {
        what: what.to_owned(),
        why: why.to_string(),
    }
}
