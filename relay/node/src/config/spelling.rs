//! How `--set` and the environment spell values: plainly where that is unambiguous, as TOML
//! anywhere.

use toml::Value;

use super::keys::Kind;

/// Reads a value of a kind, or says how it is written.
pub(super) fn value(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let wrong = || format!("{} expected", form(kind));
    match kind {
        Kind::Text
        | Kind::Secret
        | Kind::Path
        | Kind::Socket
        | Kind::Choice(_)
        | Kind::Dscp
        | Kind::PortRange => Ok(quoted(text).unwrap_or_else(|| text.into())),
        Kind::Number(..) => text
            .replace('_', "")
            .parse::<i64>()
            .map(Value::Integer)
            .map_err(|_| wrong()),
        Kind::Flag => text
            .parse::<bool>()
            .map(Value::Boolean)
            .map_err(|_| wrong()),
        Kind::List | Kind::SecretList => {
            Ok(array(text).unwrap_or_else(|| Value::Array(items(text).map(Value::from).collect())))
        }
        Kind::Users => match array(text) {
            Some(users) => Ok(users),
            None => items(text)
                .map(|item| {
                    item.split_once(':')
                        .map(|(name, password)| pairs([("name", name), ("password", password)]))
                })
                .collect::<Option<Vec<_>>>()
                .map(Value::Array)
                .ok_or_else(wrong),
        },
        Kind::Table => parsed(text).filter(Value::is_table).ok_or_else(wrong),
        Kind::Tables(_) => array(text).ok_or_else(wrong),
        Kind::AddressMap => match parsed(text).filter(Value::is_table) {
            Some(table) => Ok(table),
            None => items(text)
                .map(|item| item.split_once('='))
                .collect::<Option<Vec<_>>>()
                .map(|entries| {
                    pairs(
                        entries
                            .into_iter()
                            .map(|(from, to)| (from.trim(), to.trim())),
                    )
                })
                .ok_or_else(wrong),
        },
    }
}

/// What a value of a kind looks like.
pub(super) fn form(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Secret => "a text".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Socket => "ADDRESS:PORT, such as \"127.0.0.1:9478\"".to_owned(),
        Kind::Number(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Flag => "true or false".to_owned(),
        Kind::Choice(choices) => choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(" or "),
        Kind::Dscp => "\"copy\" or a number from 0 to 63".to_owned(),
        Kind::PortRange => "LOW-HIGH, such as \"49152-65535\"".to_owned(),
        Kind::List | Kind::SecretList => "a list of texts, such as [\"a\", \"b\"]".to_owned(),
        Kind::Users => "users, such as [{ name = \"alice\", password = \"…\" }] (alice:password by flag)".to_owned(),
        Kind::Table => "a table in one line, such as { domains = [\"relay.example.org\"] }".to_owned(),
        Kind::Tables(example) => format!("tables, such as {example}"),
        Kind::AddressMap => {
            "pairs of addresses, such as { \"10.0.0.4\" = \"192.0.2.4\" } (10.0.0.4=192.0.2.4 by flag)".to_owned()
        }
    }
}

/// Texts separated by commas; nothing at all is an empty list.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn pairs<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Table(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}

fn quoted(text: &str) -> Option<Value> {
    text.starts_with('"')
        .then(|| parsed(text))
        .flatten()
        .filter(Value::is_str)
}

/// `[::]:3478` begins like a list and is none.
fn array(text: &str) -> Option<Value> {
    parsed(text).filter(Value::is_array)
}

fn parsed(text: &str) -> Option<Value> {
    let table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    table.get("value").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        let value = value(Kind::List, text).expect("a list");
        value
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| item.as_str().expect("a text").to_owned())
            .collect()
    }

    #[test]
    fn lists_are_written_with_commas_or_as_toml() {
        assert_eq!(
            list("0.0.0.0:3478, [::]:3478"),
            ["0.0.0.0:3478", "[::]:3478"]
        );
        assert_eq!(list("[::]:3478"), ["[::]:3478"]);
        assert_eq!(list(r#"["a", "b"]"#), ["a", "b"]);
        assert!(list("").is_empty());
    }

    #[test]
    fn users_and_address_pairs_have_a_plain_spelling() {
        let users = value(Kind::Users, "alice:one, bob:t:w:o").expect("users");
        assert_eq!(users[0]["name"].as_str(), Some("alice"));
        assert_eq!(users[1]["password"].as_str(), Some("t:w:o"));
        let map = value(Kind::AddressMap, "10.0.0.4=192.0.2.4").expect("pairs");
        assert_eq!(map["10.0.0.4"].as_str(), Some("192.0.2.4"));
        assert!(value(Kind::Users, "alice").is_err());
    }

    #[test]
    fn a_text_that_looks_like_a_number_stays_a_text() {
        assert_eq!(
            value(Kind::Secret, "0123").expect("a text").as_str(),
            Some("0123")
        );
        assert_eq!(
            value(Kind::Text, "\"a b\"").expect("a text").as_str(),
            Some("a b")
        );
    }
}
