//! `sterna audit`: who changed what.

use clap::Args;
use serde_json::Value;
use sterna_control_api::audit::AuditEntry;
use sterna_control_client::Filter;

use super::ServiceArgs;
use super::table::date;
use crate::Failure;

/// `sterna audit`
#[derive(Args, Debug)]
pub(crate) struct AuditArgs {
    /// By whom, exactly: `user:NAME`, `token:ID`, `node:ID`, `device:ID`, `service`.
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// What, by its beginning: `node.` finds all of nodes.
    #[arg(long, value_name = "WHAT")]
    action: Option<String>,
    /// To whom or what, exactly.
    #[arg(long, value_name = "WHOM", allow_hyphen_values = true)]
    subject: Option<String>,
    /// Not before this, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
    /// Before this, in seconds since 1970.
    #[arg(long, value_name = "SECONDS")]
    until: Option<u64>,
    /// Entries at most, the newest first.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    control: ServiceArgs,
}

pub(super) async fn run(args: &AuditArgs) -> Result<(), Failure> {
    let service = args.control.service()?;
    let filter = Filter {
        actor: args.actor.clone(),
        action: args.action.clone(),
        subject: args.subject.clone(),
        since: args.since,
        until: args.until,
        ..Filter::default()
    };
    let page = async |filter: Filter| service.client.audit(&filter).await;
    let limit = usize::try_from(args.limit).ok();
    let entries: Vec<AuditEntry> = service.all(&filter, limit, page).await?;
    let header = ["at", "who", "what", "to", "change"];
    service.print_list(&entries, "no entries", &header, |entry| {
        vec![
            date(entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            change(entry.before.as_ref(), entry.after.as_ref()),
        ]
    })
}

/// Longest text of a change in the table; `--json` has all of it.
const CHANGE_CHARS_MAX: usize = 100;

/// What is different, field by field.
fn change(before: Option<&Value>, after: Option<&Value>) -> String {
    let text = match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let changed = after
                .iter()
                .filter(|(name, now)| before.get(*name) != Some(now));
            let told = changed.map(|(name, now)| match before.get(name) {
                Some(then) => format!("{name}: {} > {}", short(then), short(now)),
                None => format!("{name}: {}", short(now)),
            });
            told.collect::<Vec<_>>().join(", ")
        }
        (None, Some(Value::Object(after))) => {
            let told = after
                .iter()
                .map(|(name, now)| format!("{name}: {}", short(now)));
            told.collect::<Vec<_>>().join(", ")
        }
        (Some(before), Some(after)) => format!("{} > {}", short(before), short(after)),
        (None, Some(after)) => short(after),
        (Some(_), None) => "gone".to_owned(),
        (None, None) => String::new(),
    };
    match text.char_indices().nth(CHANGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_tells_what_is_different() {
        let told = |before: Value, after: Value| {
            let some = |value: Value| (!value.is_null()).then_some(value);
            change(some(before).as_ref(), some(after).as_ref())
        };
        let ready = json!({ "state": "ready", "name": "eu-1" });
        let draining = json!({ "state": "draining", "name": "eu-1" });
        assert_eq!(told(ready.clone(), draining), "state: ready > draining");
        assert_eq!(told(Value::Null, ready.clone()), "name: eu-1, state: ready");
        assert_eq!(told(ready, Value::Null), "gone");
        assert_eq!(told(Value::Null, Value::Null), "");
        assert_eq!(told(json!(1), json!(2)), "1 > 2");
        let long = told(Value::Null, json!("é".repeat(200)));
        assert_eq!(long.chars().count(), 101);
    }
}
