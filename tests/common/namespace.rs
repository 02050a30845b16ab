//! Tests in a network of their own: a test runs itself again in a network and a mount namespace that
//! ends with it.

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
