//! No dependency obliges the people who ship Sterna to more than attribution.

use cargo_metadata::Metadata;
use spdx::{Expression, LicenseReq, ParseMode};

use super::Findings;

/// The licences that we accept; deny.toml names the same ones for those who have cargo-deny.
const ACCEPTED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Zlib",
];

pub(super) fn check(everything: &Metadata) -> Findings {
    let outside = everything
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    outside
        .filter_map(|package| {
            let reason = refusal(package.license.as_deref())?;
            Some(format!("{} {}: {reason}", package.name, package.version))
        })
        .collect()
}

/// Why a licence expression does not do; nothing when it does.
fn refusal(licence: Option<&str>) -> Option<String> {
    let Some(licence) = licence else {
        return Some("names no licence".to_owned());
    };
    // Lax: crates of ten years ago write `MIT/Apache-2.0`.
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Err(error) => Some(format!(
            "{licence:?} is no licence expression: {}",
            error.reason
        )),
        Ok(expression) if expression.evaluate(is_accepted) => None,
        Ok(_) => Some(format!("{licence} is not among the accepted licences")),
    }
}

fn is_accepted(requirement: &LicenseReq) -> bool {
    requirement
        .license
        .id()
        .is_some_and(|id| ACCEPTED.contains(&id.name))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn one_acceptable_choice_is_enough() {
        assert_eq!(refusal(Some("GPL-3.0-only OR MIT")), None);
        assert_eq!(refusal(Some("MIT/Apache-2.0")), None);
        assert_eq!(refusal(Some("Apache-2.0 WITH LLVM-exception")), None);
        assert_eq!(refusal(Some("(MIT OR Apache-2.0) AND Unicode-3.0")), None);
    }

    #[test]
    fn copyleft_and_silence_are_refused() {
        for licence in [
            "GPL-3.0-only",
            "LGPL-2.1-or-later",
            "MPL-2.0",
            "AGPL-3.0",
            "MIT AND MPL-2.0",
        ] {
            assert!(refusal(Some(licence)).is_some(), "{licence}");
        }
        assert!(refusal(None).is_some());
    }
}
