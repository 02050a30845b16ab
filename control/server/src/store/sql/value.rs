//! What goes into a statement and what comes out of a row, for either database.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, Row as _, Sqlite};

use crate::store::{Result, StoreError};

/// What is bound to a place of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(i64),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        // Times and counters beyond 2^63 are none that anybody means.
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Int(flag.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::value::Value::from($value)),*] };
}
pub(super) use values;

/// What is kept as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("invariant: what is kept has texts as keys only")
}

/// What serde writes as one word, without its quotes.
pub(super) fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("invariant: a variant without fields is a word, not {other:?}"),
    }
}

/// One row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    fn read<T>(&self, column: &'static str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
        T: for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(|error| corrupt(column, &error))
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String> {
        self.read(column)
    }

    pub(super) fn maybe_text(&self, column: &'static str) -> Result<Option<String>> {
        self.read(column)
    }

    pub(super) fn bytes(&self, column: &'static str) -> Result<Vec<u8>> {
        self.read(column)
    }

    pub(super) fn array<const N: usize>(&self, column: &'static str) -> Result<[u8; N]> {
        let bytes = self.bytes(column)?;
        bytes
            .try_into()
            .map_err(|_| corrupt(column, &"of another length"))
    }

    pub(super) fn maybe_number(&self, column: &'static str) -> Result<Option<i64>> {
        self.read(column)
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let number: i64 = self.read(column)?;
        T::try_from(number).map_err(|_| corrupt(column, &"out of its range"))
    }

    pub(super) fn flag(&self, column: &'static str) -> Result<bool> {
        Ok(self.number::<i64>(column)? != 0)
    }

    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T> {
        parse(column, &self.text(column)?)
    }

    pub(super) fn maybe_parsed<T: FromStr>(&self, column: &'static str) -> Result<Option<T>> {
        let text = self.maybe_text(column)?;
        text.map(|text| parse(column, &text)).transpose()
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| corrupt(column, &error))
    }

    pub(super) fn maybe_json<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>> {
        let text = self.maybe_text(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| corrupt(column, &error)))
            .transpose()
    }

    /// The other way round from [`word`].
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        let word = serde_json::Value::String(self.text(column)?);
        serde_json::from_value(word).map_err(|error| corrupt(column, &error))
    }
}

fn parse<T: FromStr>(column: &'static str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| corrupt(column, &"of another form"))
}

pub(super) fn corrupt(column: &'static str, error: &dyn std::fmt::Display) -> StoreError {
    tracing::error!(column, %error, "the database holds what cannot be read");
    StoreError::Corrupt
}
