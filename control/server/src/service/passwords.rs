//! Passwords of people: argon2id, two at a time, and the same work for a name that nobody has.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::refusal::Refusal;

/// Hashes that run at the same time: each takes 19 MiB and some 20 ms of a core.
const HASHES_MAX: usize = 2;
/// How long one waits for a place.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest password, in characters.
pub(crate) const PASSWORD_CHARS_MIN: usize = 12;
/// The longest password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 256;

/// What a password is compared with where the name is nobody's, so that both take as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    hash_now(&Zeroizing::new("nobody has this password".to_owned())).unwrap_or_default()
});

/// Hashes and verifies passwords.
#[derive(Clone)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(HASHES_MAX)),
        }
    }

    /// A new hash with a salt of its own.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Refusal> {
        let password = Zeroizing::new(password.to_owned());
        let hashed = self.on_a_place(move || hash_now(&password)).await?;
        hashed.ok_or_else(Refusal::internal)
    }

    /// Whether the password is the one of the hash; never, after the same work, without a hash.
    pub(crate) async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Refusal> {
        let password = Zeroizing::new(password.to_owned());
        let known = hash.is_some();
        let hash = hash.map_or_else(|| NOBODY.clone(), ToOwned::to_owned);
        let fits = self
            .on_a_place(move || verify_now(&password, &hash))
            .await?;
        Ok(fits && known)
    }

    async fn on_a_place<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || Refusal::unavailable("too many passwords are being checked; try again");
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(PATIENCE, place).await;
        let place = place.map_err(|_| busy())?.map_err(|_| busy())?;
        // The place is held until the work is done, whether or not the caller still waits.
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        work.await.map_err(|_| Refusal::internal())
    }
}

/// What is wrong with a new password, if anything.
pub(crate) fn weakness(password: &str) -> Option<String> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Some(format!(
            "password: {PASSWORD_CHARS_MIN} characters at least"
        ));
    }
    (password.len() > PASSWORD_BYTES_MAX)
        .then(|| format!("password: {PASSWORD_BYTES_MAX} bytes at most"))
}

fn hash_now(password: &Zeroizing<String>) -> Option<String> {
    let hash = Argon2::default().hash_password(password.as_bytes()).ok()?;
    Some(hash.to_string())
}

fn verify_now(password: &Zeroizing<String>, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other_is() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let verify = async |given: &str, hash| passwords.verify(given, hash).await.unwrap();
        assert!(verify("correct horse battery", Some(&hash)).await);
        assert!(!verify("correct horse batterz", Some(&hash)).await);
        assert!(!verify("nobody has this password", None).await);
    }

    #[test]
    fn a_password_is_neither_short_nor_endless() {
        assert!(weakness("eleven char").is_some());
        assert!(weakness("twelve chars").is_none());
        assert!(weakness(&"x".repeat(257)).is_some());
    }
}
