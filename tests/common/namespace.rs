//! Tests in a network of their own: a test runs itself again in a network and a mount namespace that
//! ends with it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::skip;
use super::tools::tool;

/// Set in the process that already lives in the namespaces of its test.
const INSIDE: &str = "STERNA_TEST_INSIDE";

/// Runs this test in namespaces of its own; true in there. Without one of `tools`, each a program with
/// its package, or where the shell line `needs` fails in a namespace, the test is skipped.
pub(crate) fn enter(test: &str, tools: &[(&str, &str)], needs: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    for (program, package) in [("unshare", "util-linux")].iter().chain(tools) {
        if tool(test, program, package).is_none() {
            return false;
        }
    }
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "--"]);
        command
    };
    // What a namespace needs, so that a machine without it shows by a skip, not by a failure.
    let possible = unshared().args(["sh", "-c", needs]).output();
    if let Some(reason) = match possible {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(
            String::from_utf8_lossy(&output.stderr)
                .trim()
                .replace('\n', "; "),
        ),
        Err(error) => Some(error.to_string()),
    } {
        skip(test, &format!("no network namespace: {reason}"));
        return false;
    }
    let output = unshared()
        .arg(std::env::current_exe().expect("a test binary"))
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

/// Runs a shell's lines, all of which must succeed.
pub(crate) fn shell(lines: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", lines])
        .output()
        .expect("sh");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Makes a namespace `home` with 10.77.0.2 behind a namespace `router`, whose address outside is this one.
/// The test itself is outside, at 198.51.100.1 and 198.51.100.2. The router translates nothing yet.
pub(crate) fn home_behind_router(outside: &str) {
    shell(&format!(
        "mount -t tmpfs tests /run
         ip link set lo up
         ip netns add home
         ip netns add router
         ip link add uplink type veth peer name wan netns router
         ip link add lan netns router type veth peer name uplink netns home
         ip addr add 198.51.100.1/24 dev uplink
         ip addr add 198.51.100.2/24 dev uplink
         ip link set uplink up
         ip -n router addr add {outside}/24 dev wan
         ip -n router addr add 10.77.0.1/24 dev lan
         ip -n router link set wan up
         ip -n router link set lan up
         ip -n home addr add 10.77.0.2/24 dev uplink
         ip -n home link set uplink up
         ip -n home link set lo up
         ip -n home route add default via 10.77.0.1
         ip netns exec router sysctl -qw net.ipv4.ip_forward=1"
    ));
}

/// Gives the router these rules of nftables.
pub(crate) fn router_rules(rules: &str) {
    let mut nft = Command::new("ip")
        .args(["netns", "exec", "router", "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft");
    let mut input = nft.stdin.take().expect("a pipe");
    input.write_all(rules.as_bytes()).expect("nft reads");
    drop(input);
    assert!(nft.wait().expect("nft").success(), "{rules}");
}
