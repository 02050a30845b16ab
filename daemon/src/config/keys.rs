//! What there is to say about each key: the one table behind checks, explanations and documents.
//!
//! Defaults are not here: they are read from the configuration's `Default`, so that they cannot
//! differ from what the process does.

/// All keys of a configuration, and how its variables are called.
#[derive(Clone, Copy, Debug)]
pub struct KeyTable {
    /// In the order of the documents.
    pub sections: &'static [Section],
    /// What every variable begins with; the key's path in capitals follows.
    pub prefix: &'static str,
    /// The section whose keys' variables go without it, since the prefix says it; or nothing.
    pub implied: &'static str,
    /// Variables with the prefix that are no keys of this configuration.
    pub foreign: &'static [&'static str],
    /// What stands above the printed defaults, as comments.
    pub file_introduction: &'static str,
    /// What stands above the tables of the document.
    pub document_introduction: &'static str,
}

/// A section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// What stands in brackets.
    pub name: &'static str,
    /// A line on it.
    pub about: &'static str,
    /// Its keys, in the order of the documents.
    pub keys: &'static [Key],
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`.
    pub path: &'static str,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
    /// The unit of its value, or nothing.
    pub unit: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// What is sensible, where the form alone does not say it.
    pub advice: &'static str,
    /// Whether a process that runs applies it on reload; otherwise a restart does.
    pub reload: bool,
}

/// The form of a value, which is also how `--set` and the environment spell it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A text of the form that is described here.
    Form(&'static str),
    /// A path, relative to where the process was started.
    Path,
    /// ADDRESS:PORT; the port of the example.
    Socket(u16),
    /// A whole number between both, inclusive.
    Number(u64, u64),
    /// true or false.
    Flag,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Texts; in the environment separated by commas.
    List,
    /// Texts that are never shown; in the environment separated by commas.
    SecretList,
    /// Tables of these texts; in the environment their texts by colons, separated by commas.
    Records {
        /// The names of the texts, in the order of the environment's spelling.
        fields: &'static [&'static str],
        /// What a value looks like.
        form: &'static str,
    },
    /// Text = text; in the environment `a=b`, separated by commas. What a value looks like.
    Map(&'static str),
    /// Tables of several keys, such as this one; in the environment as TOML.
    Tables(&'static str),
    /// A table in one line, such as this one, in the environment too.
    Table(&'static str),
}

impl KeyTable {
    /// Every key, section by section.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.sections.iter().flat_map(|section| section.keys)
    }

    /// Looks a key up by its path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.path == path)
    }

    /// The known key nearest to a path that is not one.
    ///
    /// The same name in another section comes first: `turn.users` is a slip for `auth.users`.
    ///
    /// # Panics
    /// Where there are no keys.
    #[must_use]
    pub fn nearest(&self, path: &str) -> &'static Key {
        let path = path.to_lowercase().replace('-', "_");
        let name = path
            .rsplit_once('.')
            .map_or(path.as_str(), |(_, name)| name);
        let same_name = self.keys().find(|key| key.name() == name);
        same_name
            .or_else(|| {
                self.keys()
                    .min_by_key(|key| strsim::damerau_levenshtein(key.path, &path))
            })
            .expect("invariant: the table of keys is not empty")
    }

    /// The environment variable that sets a key.
    #[must_use]
    pub fn variable(&self, key: &Key) -> String {
        let path = match key.path.split_once('.') {
            Some((section, name)) if section == self.implied => name,
            _ => key.path,
        };
        format!("{}{}", self.prefix, path.replace('.', "_").to_uppercase())
    }

    /// Whether any key is applied on reload.
    pub(super) fn reloads(&self) -> bool {
        self.keys().any(|key| key.reload)
    }
}

impl Key {
    /// A text without a unit and without advice, which a restart applies.
    pub const PLAIN: Self = Self {
        path: "",
        meaning: "",
        unit: "",
        kind: Kind::Text,
        advice: "",
        reload: false,
    };

    /// The part before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part behind the dot.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }
}

impl Kind {
    /// What a value looks like.
    #[must_use]
    pub fn form(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Form(form) | Self::Records { form, .. } | Self::Map(form) => form.to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Socket(port) => format!("ADDRESS:PORT, such as \"127.0.0.1:{port}\""),
            Self::Number(min, max) => format!("a whole number from {min} to {max}"),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(choices) => {
                let choices: Vec<_> = choices
                    .iter()
                    .map(|choice| format!("\"{choice}\""))
                    .collect();
                choices.join(" or ")
            }
            Self::List | Self::SecretList => "a list of texts, such as [\"a\", \"b\"]".to_owned(),
            Self::Tables(example) => format!("tables, such as {example}"),
            Self::Table(example) => format!("a table in one line, such as {example}"),
        }
    }
}
