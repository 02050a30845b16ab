//! What changes the whole process, and therefore runs in one of its own: limits, filters,
//! namespaces, memory.
//!
//! Each test starts this very program again with only itself to run, and does its work there.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use sterna_io::mmsg::MmsgEngine;
use sterna_io::probe::{EngineChoice, choose};
use sterna_io::sockets::{bind_listener, raise_descriptor_limit};
use sterna_io::uring::UringEngine;
use sterna_io::{Config, Engine, EngineKind, OpenError, Port};

const CHILD: &str = "STERNA_IO_TEST_CHILD";

/// Runs `body` in a process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        body();
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "no such test: {test}\n{out}");
    print!(
        "{}",
        out.lines()
            .filter(|line| line.starts_with("  "))
            .collect::<String>()
    );
}

fn has_uring() -> bool {
    choose(EngineChoice::Uring).is_ok()
}

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Sends a datagram through the engine's listener and back.
fn echoes(engine: &mut impl Engine) {
    let socket = bind_listener(any(), false, 1 << 20).unwrap();
    let addr = socket.local_addr().unwrap();
    engine.add_listener(socket).unwrap();
    let peer = UdpSocket::bind(any()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer.send_to(b"over there and back", addr).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut echoed = false;
    while !echoed && Instant::now() < deadline {
        engine.turn(Some(deadline)).unwrap();
        while let Some(train) = engine.next_train() {
            engine.send(train.port, train.from, &[], train.packet, 0);
            echoed = true;
        }
    }
    engine.turn(Some(engine.now())).unwrap();
    let mut buf = [0; 64];
    let len = peer.recv(&mut buf).unwrap();
    assert_eq!(&buf[..len], b"over there and back");
}

// --- io_uring forbidden ---

/// Makes a system call fail with `errno` in this process, as containers do by default.
fn forbid(call: libc::c_long, errno: i32) {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let call = u32::try_from(call).unwrap();
    let refuse = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: no pointers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: a program of four instructions that outlive the call.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
            0,
            0,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn where_a_filter_forbids_io_uring_auto_takes_mmsg_and_says_why() {
    alone(
        "where_a_filter_forbids_io_uring_auto_takes_mmsg_and_says_why",
        || {
            forbid(libc::SYS_io_uring_setup, libc::EPERM);
            let choice = choose(EngineChoice::Auto).unwrap();
            assert_eq!(choice.engine, EngineKind::Mmsg);
            assert!(
                choice.reason.contains("EPERM: a seccomp filter"),
                "{choice}"
            );
            assert!(choice.reason.contains("GRO"), "{choice}");
            let refused = choose(EngineChoice::Uring).unwrap_err().to_string();
            assert!(refused.contains("use engine = \"mmsg\""), "{refused}");
            echoes(&mut MmsgEngine::new(choice.apply(Config::default())).unwrap());
        },
    );
}

#[test]
fn where_a_sandbox_hides_io_uring_auto_takes_mmsg_and_says_why() {
    alone(
        "where_a_sandbox_hides_io_uring_auto_takes_mmsg_and_says_why",
        || {
            forbid(libc::SYS_io_uring_setup, libc::ENOSYS);
            let choice = choose(EngineChoice::Auto).unwrap();
            assert_eq!(choice.engine, EngineKind::Mmsg);
            assert!(choice.reason.contains("a sandbox hides it"), "{choice}");
        },
    );
}

#[test]
fn where_epoll_waits_in_milliseconds_only_mmsg_waits_all_the_same() {
    alone(
        "where_epoll_waits_in_milliseconds_only_mmsg_waits_all_the_same",
        || {
            forbid(libc::SYS_epoll_pwait2, libc::EPERM);
            let mut engine = MmsgEngine::new(Config::default()).unwrap();
            let deadline = Instant::now() + Duration::from_micros(5_500);
            engine.turn(Some(deadline)).unwrap();
            assert!(Instant::now() >= deadline);
            echoes(&mut engine);
        },
    );
}

#[test]
fn without_a_loopback_there_is_no_engine_and_the_operator_learns_why() {
    alone(
        "without_a_loopback_there_is_no_engine_and_the_operator_learns_why",
        || {
            // SAFETY: no pointers; only this thread is moved.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return;
            }
            let refused = choose(EngineChoice::Auto).unwrap_err().to_string();
            assert!(refused.contains("is its interface up"), "{refused}");
        },
    );
}

// --- Descriptors ---

fn limit_descriptors(soft: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a structure to fill that outlives the call.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(done, 0);
    limit.rlim_cur = soft;
    // SAFETY: an initialised structure that outlives the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(done, 0);
}

fn runs_out_of_descriptors(mut engine: impl Engine) {
    echoes(&mut engine);
    limit_descriptors(3);
    for _ in 0..3 {
        let refused = engine.open_relay(any());
        assert!(
            matches!(refused, Err(OpenError::OutOfDescriptors)),
            "{refused:?}"
        );
    }
    raise_descriptor_limit().unwrap();
    engine.open_relay(any()).unwrap();
    echoes(&mut engine);
}

#[test]
fn descriptors_that_run_out_are_said_and_mmsg_goes_on() {
    alone("descriptors_that_run_out_are_said_and_mmsg_goes_on", || {
        runs_out_of_descriptors(MmsgEngine::new(Config::default()).unwrap());
    });
}

#[test]
fn descriptors_that_run_out_are_said_and_uring_goes_on() {
    alone(
        "descriptors_that_run_out_are_said_and_uring_goes_on",
        || {
            if has_uring() {
                runs_out_of_descriptors(UringEngine::new(Config::default()).unwrap());
            }
        },
    );
}

#[test]
fn a_low_limit_shortens_the_table_of_files_and_a_lower_one_is_said() {
    alone(
        "a_low_limit_shortens_the_table_of_files_and_a_lower_one_is_said",
        || {
            if !has_uring() {
                return;
            }
            limit_descriptors(300);
            let mut engine = UringEngine::new(Config::default()).unwrap();
            let mut open = 0;
            let refused = loop {
                match engine.open_relay(any()) {
                    Ok(_) => open += 1,
                    Err(error) => break error,
                }
            };
            assert!(matches!(refused, OpenError::OutOfDescriptors), "{refused}");
            assert_eq!(open, 300 - 256, "what listeners leave");
            drop(engine);
            limit_descriptors(200);
            let choice = choose(EngineChoice::Auto).unwrap();
            assert_eq!(choice.engine, EngineKind::Mmsg);
            assert!(choice.reason.contains("RLIMIT_NOFILE"), "{choice}");
        },
    );
}

// --- Memory ---

fn resident_bytes() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("Rss:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1_024
}

fn stays_within_its_budget<E: Engine>(make: impl Fn(Config) -> std::io::Result<E>) {
    let limit = usize::try_from(raise_descriptor_limit().unwrap()).unwrap();
    // What the first engine of a process allocates besides: the allocator's own.
    drop(
        make(Config {
            buffers: 8,
            gro: false,
            ..Config::default()
        })
        .unwrap(),
    );
    let before = resident_bytes();
    let mut engine = make(Config::default()).unwrap();
    let budget: usize = engine
        .budget()
        .iter()
        .map(sterna_io::BudgetLine::bytes)
        .sum();
    let resident = resident_bytes() - before;
    for line in engine.budget() {
        println!(
            "  {:>12} bytes: {} x {} {}",
            line.bytes(),
            line.count,
            line.bytes_each,
            line.what
        );
    }
    println!("  budget {budget}, resident {resident}");
    let slack = 768 * 1_024;
    assert!(
        resident > budget - slack && resident < budget + slack,
        "{resident} for {budget}"
    );

    for _ in 0..20 {
        echoes(&mut engine);
    }
    assert!(
        resident_bytes() - before < budget + slack,
        "traffic takes nothing more"
    );

    let ports = limit.saturating_sub(100).min(10_000);
    let before = resident_bytes();
    let mut open = 0;
    while open < ports {
        if let Err(error) = engine.open_relay(any()) {
            println!("  stopped at {open} ports: {error}");
            break;
        }
        open += 1;
    }
    engine.turn(Some(engine.now())).unwrap();
    let grown = resident_bytes().saturating_sub(before);
    println!("  {open} ports: {grown} bytes, {} each", grown / open);
    assert!(grown / open <= 200, "{grown} bytes for {open} ports");
}

#[test]
fn mmsg_stays_within_its_budget_with_ten_thousand_ports() {
    alone(
        "mmsg_stays_within_its_budget_with_ten_thousand_ports",
        || {
            stays_within_its_budget(MmsgEngine::new);
        },
    );
}

#[test]
fn uring_stays_within_its_budget_with_ten_thousand_ports() {
    alone(
        "uring_stays_within_its_budget_with_ten_thousand_ports",
        || {
            if has_uring() {
                stays_within_its_budget(UringEngine::new);
            }
        },
    );
}

// --- Path MTU ---

/// Enters a network namespace whose loopback has this MTU; `false` without the privilege.
fn enter_namespace(mtu: i32) -> bool {
    // SAFETY: no pointers; only this thread is moved.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return false;
    }
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: a structure of integers, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::try_from(*from).unwrap();
    }
    request.ifr_ifru.ifru_mtu = mtu;
    // SAFETY: the request outlives the call and holds what this one reads.
    let done = unsafe { libc::ioctl(fd, libc::SIOCSIFMTU, &raw const request) };
    assert_eq!(done, 0);
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
    // SAFETY: as above.
    let done = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(done, 0);
    true
}

fn sends_singly_beyond_the_path_mtu(mut engine: impl Engine) {
    let socket = bind_listener(any(), false, 1 << 20).unwrap();
    let via = Port::Listener(engine.add_listener(socket).unwrap());
    let peer = UdpSocket::bind(any()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    engine.turn(Some(engine.now())).unwrap();
    for round in 0..3_u8 {
        for i in 0..5_u8 {
            let to = peer.local_addr().unwrap();
            engine.send_copy(via, to, &[round; 4], &[i; 1_396], 0);
        }
        engine.turn(Some(engine.now())).unwrap();
        let mut buf = [0; 2_000];
        for i in 0..5 {
            let len = peer.recv(&mut buf).unwrap();
            assert_eq!((len, buf[0], buf[1_399]), (1_400, round, i));
        }
    }
    let counters = engine.counters();
    // Once refused, not tried again.
    assert_eq!(
        (counters.gso_fallbacks, counters.gso_groups),
        (1, 0),
        "{counters:?}"
    );
    assert_eq!(
        (counters.packets_out, counters.send_errors()),
        (15, 0),
        "{counters:?}"
    );
    for i in 0..5_u8 {
        engine.send_copy(via, peer.local_addr().unwrap(), &[], &[i; 1_000], 0);
    }
    engine.turn(Some(engine.now())).unwrap();
    assert_eq!(engine.counters().gso_groups, 1, "smaller ones are");
}

#[test]
fn mmsg_sends_groups_beyond_the_path_mtu_singly() {
    alone("mmsg_sends_groups_beyond_the_path_mtu_singly", || {
        if enter_namespace(1_300) {
            sends_singly_beyond_the_path_mtu(MmsgEngine::new(Config::default()).unwrap());
        }
    });
}

#[test]
fn uring_sends_groups_beyond_the_path_mtu_singly() {
    alone("uring_sends_groups_beyond_the_path_mtu_singly", || {
        if has_uring() && enter_namespace(1_300) {
            sends_singly_beyond_the_path_mtu(UringEngine::new(Config::default()).unwrap());
        }
    });
}

#[test]
fn an_address_that_comes_is_news() {
    alone("an_address_that_comes_is_news", || {
        // SAFETY: no pointers; only this thread is moved.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return;
        }
        let watch = sterna_io::interfaces::AddressWatch::new().unwrap();
        assert!(!watch.changed().unwrap());
        assert!(sterna_io::interfaces::local_addresses().unwrap().is_empty());
        // The loopback gets its address when it comes up.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // SAFETY: a structure of integers, for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = libc::c_char::try_from(*from).unwrap();
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // SAFETY: the request outlives the call and holds what this one reads.
        let done = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request) };
        assert_eq!(done, 0);
        assert!(watch.wait(5_000).unwrap());
        assert!(watch.changed().unwrap());
        assert!(!watch.changed().unwrap(), "news is taken once");
        let addresses = sterna_io::interfaces::local_addresses().unwrap();
        assert!(
            addresses
                .iter()
                .any(|local| local.addr == Ipv4Addr::LOCALHOST)
        );
    });
}
