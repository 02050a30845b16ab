//! The signature base (RFC 9421 §2.5): the text that is signed.

use std::borrow::Cow;

/// Writes a line for each component, in their order, and the parameters at the end.
///
/// None where a component has no value, or one that could be read as more than one line.
pub(super) fn base<'v>(
    components: &[&str],
    params_text: &str,
    value: impl Fn(&str) -> Option<Cow<'v, str>>,
) -> Option<String> {
    let mut base = String::with_capacity(512);
    for name in components {
        let value = value(name)?;
        // §2.5: values are ASCII; a line feed in one would pass for the next component.
        if !value.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
            return None;
        }
        base.push('"');
        base.push_str(name);
        base.push_str("\": ");
        base.push_str(&value);
        base.push('\n');
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params_text);
    Some(base)
}
