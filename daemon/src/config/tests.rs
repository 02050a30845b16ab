#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::*;

/// A process of two sections, whose variables go without the first one's name.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mill {
    mill: Wheel,
    log: Log,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wheel {
    turns: u32,
    names: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Log {
    file: Option<String>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            turns: 3,
            names: Vec::new(),
        }
    }
}

const TABLE: KeyTable = KeyTable {
    sections: &[
        Section {
            name: "mill",
            about: "What `turns`.",
            keys: &[
                Key {
                    path: "mill.turns",
                    meaning: "Turns of the wheel.",
                    unit: "a minute",
                    kind: Kind::Number(1, 9),
                    advice: "3 | 4",
                    reload: true,
                },
                Key {
                    path: "mill.names",
                    meaning: "What they are called.",
                    kind: Kind::List,
                    ..Key::PLAIN
                },
            ],
        },
        Section {
            name: "log",
            about: "What is written.",
            keys: &[Key {
                path: "log.file",
                meaning: "Where it is `written`.",
                kind: Kind::Path,
                ..Key::PLAIN
            }],
        },
    ],
    prefix: "MILL_",
    implied: "mill",
    foreign: &["MILL_OWNER"],
    file_introduction: "# A mill.\n",
    document_introduction: "# Mill\n",
};

impl Layered for Mill {
    const TABLE: &'static KeyTable = &TABLE;
}

fn load(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<(Mill, Origins), ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mill.toml");
    std::fs::write(&path, text).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    read(Some(&path), env, &sets)
}

#[test]
fn a_flag_goes_over_the_environment_over_the_file_over_the_default() {
    let file = "[mill]\nturns = 4\nnames = [\"file\"]\n[log]\nfile = \"file\"\n";
    let env = [
        ("MILL_NAMES", "a, b"),
        ("MILL_LOG_FILE", "env"),
        ("MILL_OWNER", "x"),
        ("TURNS", "x"),
    ];
    let (mill, _) = load(file, &env, &["log.file=flag"]).unwrap();
    assert_eq!(
        (mill.mill.turns, mill.log.file.as_deref()),
        (4, Some("flag"))
    );
    assert_eq!(mill.mill.names, ["a", "b"]);
    assert_eq!(load("", &[], &[]).unwrap().0, Mill::default());
}

#[test]
fn everything_that_is_wrong_is_named_at_once_where_it_stands() {
    let file = "[mill]\nturn = 1\nturns = 10\n[lgo]\nfile = \"x\"\n";
    let env = [("MILL_TURNSS", "1"), ("MILL_LOG_NAMES", "a")];
    let error = load(file, &env, &["mill.turns=often", "mill.turns", "file=x"]).unwrap_err();
    let text = error.to_string();
    for part in [
        "mill.toml:2: mill.turn: no such key; the nearest is mill.turns",
        "mill.toml:3: mill.turns: 10 is out of range; write a whole number from 1 to 9",
        "mill.toml:4: lgo: no such section; the nearest is [log]",
        "MILL_TURNSS: no such key; the nearest is MILL_TURNS",
        "MILL_LOG_NAMES: no such key; the nearest is MILL_NAMES",
        "--set mill.turns=…: mill.turns: a whole number from 1 to 9 expected",
        "--set mill.turns: write --set section.key=value",
        "--set file=…: file: no such key; the nearest is log.file",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert_eq!(error.problems.len(), 8, "{text}");
}

#[test]
fn a_fault_is_blamed_on_the_place_where_its_key_was_set() {
    let (_, origins) = load("", &[], &["log.file=x"]).unwrap();
    let fault = |key| [(key, "is wrong".to_owned())];
    let said = origins.blame(fault("log.file")).unwrap_err().to_string();
    assert_eq!(said, "--set log.file=…: log.file: is wrong");
    let said = origins.blame(fault("mill.turns")).unwrap_err().to_string();
    assert_eq!(said, "mill.turns: is wrong");
    assert!(origins.blame([]).is_ok());
}

#[test]
fn numbers_of_a_configuration_that_was_not_read_are_checked_too() {
    let mut mill = Mill::default();
    assert!(out_of_range(&mill).is_empty());
    mill.mill.turns = 0;
    let [(key, sentence)] = &out_of_range(&mill)[..] else {
        panic!("one fault");
    };
    assert_eq!(*key, "mill.turns");
    assert_eq!(
        sentence,
        "0 is out of range; write a whole number from 1 to 9"
    );
}

#[test]
fn the_documents_are_made_of_the_table_and_the_defaults() {
    let page = markdown::<Mill>();
    let row = "| `turns` | `3` | Turns of the wheel. (a minute) *Advised: 3 \\| 4.* | a whole number from 1 to 9 | reload |";
    assert!(
        page.starts_with("# Mill\n\n## `[mill]`\n\nWhat `turns`.\n") && page.contains(row),
        "{page}"
    );
    assert!(
        page.contains("| `file` | not set | Where it is `written`. | a path | restart |"),
        "{page}"
    );
    let file = defaults_toml::<Mill>();
    assert!(
        file.starts_with("# A mill.\n")
            && file
                .contains("\n# What turns.\n[mill]\n# Turns of the wheel. (a minute)\nturns = 3\n"),
        "{file}"
    );
    assert_eq!(toml::from_str::<Mill>(&file).unwrap(), Mill::default());
    assert!(overview::<Mill>().contains("[log] What is written.\n  log.file "));
    let text = explain::<Mill>("mill.turns").unwrap();
    for line in [
        "  advice       3 | 4",
        "  applied      on reload",
        "  environment  MILL_TURNS",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert_eq!(explain::<Mill>("mill.turn"), None);
}
