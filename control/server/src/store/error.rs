//! What can go wrong: for the caller of a method, and for the operator who starts the service.

use std::path::PathBuf;

use crate::domain::rotation::Refusal;

/// Why a method of the store did nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Something else is in the way.
    #[error("{0}")]
    Conflict(Conflict),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(Thing),
    /// There is no token, or none that lets anybody in any more.
    #[error("the token lets nobody in")]
    TokenSpent,
    /// The nonce was used before.
    #[error("the nonce was used before")]
    Replayed,
    /// The step of a rotation is not to be taken.
    #[error("{0}")]
    Rotation(Refusal),
    /// An announcement is longer than any that is passed on.
    #[error("the message is too long")]
    TooLong,
    /// The database is away or does not answer in time; whether a change was made is not known.
    #[error("the database is away")]
    Unavailable,
    /// The database holds what no store wrote; the log says where.
    #[error("the database holds something that cannot be read")]
    Corrupt,
}

/// What is in the way of a change.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// There is a region of this code.
    #[error("there is a region of this code")]
    RegionExists,
    /// The region has nodes.
    #[error("the region has nodes; they are forgotten first")]
    RegionInUse,
    /// Another node has this name.
    #[error("another node has this name")]
    NodeName,
    /// Another device of the tenant has this WireGuard key.
    #[error("another device has this WireGuard key")]
    DeviceKey,
    /// There are no keys to go back to, or they no longer count.
    #[error("there are no previous keys that still count")]
    NothingToRollBack,
    /// The tenant's overlay network has no address left.
    #[error("the overlay network has no address left")]
    OverlayFull,
    /// There is a token of this id.
    #[error("there is a token of this id")]
    TokenExists,
    /// There is a person of this name.
    #[error("there is a person of this name")]
    UserExists,
    /// There are people already.
    #[error("there are people already")]
    NotTheFirstUser,
    /// Nobody would be administrator any more.
    #[error("this is the last administrator")]
    LastAdministrator,
}

impl From<Conflict> for StoreError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Rotation(refusal)
    }
}

/// What there is none of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Thing {
    /// A region.
    Region,
    /// A node.
    Node,
    /// A device.
    Device,
    /// A token.
    Token,
    /// A person.
    User,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Region => "region",
            Self::Node => "node",
            Self::Device => "device",
            Self::Token => "token",
            Self::User => "person",
        })
    }
}

/// Why a store cannot be opened: sentences for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is none that we know.
    #[error("database.url must be \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\"")]
    Url,
    /// The URL is one of PostgreSQL's, and not a good one.
    #[error("database.url is no usable PostgreSQL URL: {0}")]
    PostgresUrl(String),
    /// The database was made by a newer version.
    #[error(
        "the database was brought to version {found} by a newer sterna, and this one knows \
         versions up to {known}; run the newer one, or go back to a backup"
    )]
    Newer {
        /// The version of the database.
        found: i64,
        /// The newest version that is known here.
        known: i64,
    },
    /// A migration that was applied is not the one that is known here, or was interrupted.
    #[error(
        "the database's migration {0} is not this program's, or was interrupted: restore a backup"
    )]
    Diverged(i64),
    /// Another service has the SQLite file open.
    #[error("another control service uses {0}; with SQLite there is one (several need PostgreSQL)")]
    InUse(PathBuf),
    /// A file cannot be read or made.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The key file is not there although the database's secrets were encrypted with it.
    #[error(
        "{0} is missing, and the secrets in the database are encrypted with it; restore it from a \
         backup, or copy it from another replica"
    )]
    KeyFileMissing(PathBuf),
    /// The key file is another one than the secrets were encrypted with.
    #[error(
        "{0} is not the key that the secrets in the database are encrypted with; restore the right \
         one, or copy it from another replica"
    )]
    KeyFileWrong(PathBuf),
    /// The key file holds no key.
    #[error("{0} holds no key: it is a line of 32 bytes in base64url; restore it from a backup")]
    KeyFileMalformed(PathBuf),
    /// The key file can be read by others.
    #[error("{0} can be read by others; chmod 600 it")]
    KeyFileExposed(PathBuf),
    /// The database is away or refuses us.
    #[error("the database cannot be opened: {0}")]
    Unreachable(String),
}
