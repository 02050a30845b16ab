//! How `--set` and the environment spell values: plainly where that is unambiguous, as TOML
//! anywhere.

use toml::Value;

use super::Kind;

/// Reads a value of a kind, or says how it is written.
pub(super) fn value(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    let wrong = || format!("{} expected", kind.form());
    match kind {
        Kind::Text
        | Kind::Secret
        | Kind::Form(_)
        | Kind::Path
        | Kind::Socket(_)
        | Kind::Choice(_) => Ok(quoted(text).unwrap_or_else(|| text.into())),
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
        Kind::Records { fields, .. } => match array(text) {
            Some(records) => Ok(records),
            None => items(text)
                .map(|item| record(fields, item))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array)
                .ok_or_else(wrong),
        },
        Kind::Map(_) => match parsed(text).filter(Value::is_table) {
            Some(table) => Ok(table),
            None => items(text)
                .map(|item| {
                    item.split_once('=')
                        .map(|(from, to)| (from.trim(), to.trim()))
                })
                .collect::<Option<Vec<_>>>()
                .map(pairs)
                .ok_or_else(wrong),
        },
        Kind::Tables(_) => array(text).ok_or_else(wrong),
        Kind::Table(_) => parsed(text).filter(Value::is_table).ok_or_else(wrong),
    }
}

/// The texts of a record; the last one may hold colons.
fn record(fields: &'static [&'static str], item: &str) -> Option<Value> {
    let texts: Vec<_> = item.splitn(fields.len(), ':').collect();
    (texts.len() == fields.len()).then(|| pairs(fields.iter().copied().zip(texts)))
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
    fn records_and_pairs_have_a_plain_spelling() {
        let users = Kind::Records {
            fields: &["name", "password"],
            form: "users",
        };
        assert!(value(users, "alice").is_err());
        let users = value(users, "alice:one, bob:t:w:o").expect("users");
        assert_eq!(users[0]["name"].as_str(), Some("alice"));
        assert_eq!(users[1]["password"].as_str(), Some("t:w:o"));
        let map = value(Kind::Map("pairs"), "10.0.0.4=192.0.2.4").expect("pairs");
        assert_eq!(map["10.0.0.4"].as_str(), Some("192.0.2.4"));
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
