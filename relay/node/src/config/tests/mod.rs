//! The configuration as a whole: what is said of it to whoever writes one.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::PathBuf;

use super::*;

mod certificate;
mod credentials;
mod documents;
mod layers;
mod listeners;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    (dir, path)
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    let (_dir, path) = file(text);
    Config::load(Some(&path), std::iter::empty(), &[])
}

fn from_sets(sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(None, std::iter::empty(), &sets)
}

fn refusal(text: &str) -> String {
    from_file(&format!("{text}\n")).unwrap_err().to_string()
}

const USER: &str = "[auth]\nusers = [{ name = \"alice\", password = \"wonderland\" }]\n";
