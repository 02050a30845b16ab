//! One order, from the account to the certificate (RFC 8555 §7.1).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeStatus, ChallengeType,
    ExternalAccountKey, HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::crypto::CryptoProvider;

use super::AcmeError;
use super::challenge::Answers;
use super::files::{Store, canonical};
use crate::config::{Acme, AcmeChallenge};
use crate::tls::certificate::{Identity, chain, private_key};

/// How long a whole order may take.
pub(super) const ORDER_MAX: Duration = Duration::from_secs(300);

/// How long the authority may take to look at all answers, and how long to issue.
const STEP_MAX: Duration = Duration::from_secs(120);

/// Makes a client of the authority; one an order, so that a connection is not kept for months.
pub(super) type Connect = Box<dyn Fn() -> Result<Box<dyn HttpClient>, AcmeError> + Send + Sync>;

/// All that it takes to obtain a certificate.
pub(super) struct Issuer {
    pub(super) config: Acme,
    pub(super) store: Store,
    pub(super) answers: Arc<Answers>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) connect: Connect,
}

/// Forgets the answers when the order is closed, however it ends.
struct OpenOrder<'a>(&'a Answers);

impl Drop for OpenOrder<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Issuer {
    /// The names that are wanted, as names are compared.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.config
            .domains
            .iter()
            .map(|name| canonical(name))
            .collect()
    }

    /// Obtains a certificate and keeps it.
    pub(super) async fn obtain(&self) -> Result<(), AcmeError> {
        self.store.prepare()?;
        let obtained = match tokio::time::timeout(ORDER_MAX, self.order()).await {
            Ok(obtained) => obtained,
            Err(_) => Err(AcmeError::TooLong(ORDER_MAX)),
        };
        if obtained.as_ref().is_err_and(AcmeError::is_unknown_account) {
            self.store.retire_account()?;
        }
        obtained
    }

    async fn order(&self) -> Result<(), AcmeError> {
        let _open = OpenOrder(&self.answers);
        let account = self.account().await?;
        let names: Vec<_> = self.names().into_iter().collect();
        let identifiers: Vec<_> = names.iter().map(|name| identifier(name)).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &self.config.profile {
            new = new.profile(profile);
        }
        let order = account.new_order(&new).await;
        let mut order = order.map_err(self.refused("an order"))?;
        self.answer(&mut order).await?;
        let patience = RetryPolicy::new().timeout(STEP_MAX);
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => {}
            Ok(_) => return Err(self.why_not(&mut order, None).await),
            Err(error) => return Err(self.why_not(&mut order, Some(error)).await),
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?;
        let finalized = order.finalize_csr(request.der()).await;
        finalized.map_err(self.refused("the certificate request"))?;
        let issued = order.poll_certificate(&patience).await;
        let issued = issued.map_err(self.refused("the certificate"))?;
        let key = key.serialize_pem();
        self.check(&key, &issued)?;
        self.store.keep_certificate(&key, &issued)
    }

    /// The account of the last time, or a new one.
    async fn account(&self) -> Result<Account, AcmeError> {
        let url = &self.config.directory;
        let builder = Account::builder_with_http((self.connect)()?);
        if let Some(kept) = self.store.account()? {
            let known = builder.from_credentials(kept).await;
            return known.map_err(self.refused("the account"));
        }
        let contact = self.config.contact_urls();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.external_account()?;
        let made = builder.create(&new, url.clone(), external.as_ref()).await;
        let (account, credentials) = made.map_err(self.refused("an account"))?;
        self.store.keep_account(&credentials)?;
        Ok(account)
    }

    fn external_account(&self) -> Result<Option<ExternalAccountKey>, AcmeError> {
        let Some(external) = &self.config.external_account else {
            return Ok(None);
        };
        let key = external.hmac_key.expose().trim_end_matches('=');
        let key = BASE64_URL_SAFE_NO_PAD.decode(key);
        let key = key.map_err(|_| AcmeError::ExternalKey)?;
        Ok(Some(ExternalAccountKey::new(external.key_id.clone(), &key)))
    }

    /// Puts the answers up, and asks the authority to look at them.
    async fn answer(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(self.refused("an authorization"))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => self.answer_one(authorization).await?,
                _ => {
                    let domain = authorization.identifier().to_string();
                    let problem = authorization
                        .challenges
                        .iter()
                        .find_map(|one| one.error.as_ref());
                    return Err(AcmeError::challenge(&domain, self.challenge(), problem));
                }
            }
        }
        Ok(())
    }

    async fn answer_one(&self, authorization: AuthorizationHandle<'_>) -> Result<(), AcmeError> {
        let domain = authorization.identifier().to_string();
        let not_offered = || AcmeError::NotOffered {
            domain: domain.clone(),
            challenge: self.challenge(),
        };
        let kind = match self.config.challenge {
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            AcmeChallenge::Http01 => ChallengeType::Http01,
        };
        let mut authorization = authorization;
        let mut challenge = authorization.challenge(kind).ok_or_else(not_offered)?;
        let proof = challenge.key_authorization();
        match self.config.challenge {
            AcmeChallenge::TlsAlpn01 => {
                self.answers
                    .answer_tls(&domain, proof.digest().as_ref(), &self.provider)?;
            }
            AcmeChallenge::Http01 => self.answers.answer_http(&challenge.token, proof.as_str()),
        }
        match challenge.set_ready().await {
            // An authority that is quick has looked already, and says so in its answer.
            Err(instant_acme::Error::Api(problem)) if AcmeError::is_of_challenge(&problem) => Err(
                AcmeError::challenge(&domain, self.challenge(), Some(&problem)),
            ),
            other => other.map_err(self.refused("a challenge")),
        }
    }

    /// Says why an order is not ready: the first name that could not be verified.
    async fn why_not(&self, order: &mut Order, error: Option<instant_acme::Error>) -> AcmeError {
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let domain = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else {
                break;
            };
            let invalid = |status| status == ChallengeStatus::Invalid;
            let failed = state.challenges.iter().find(|one| invalid(one.status));
            if let Some(failed) = failed {
                return AcmeError::challenge(&domain, self.challenge(), failed.error.as_ref());
            }
        }
        match error {
            Some(instant_acme::Error::Timeout(_)) | None => AcmeError::TooLong(STEP_MAX),
            Some(error) => self.refused("the order")(error),
        }
    }

    /// What the authority issued must be what is then served.
    fn check(&self, key_pem: &str, chain_pem: &str) -> Result<(), AcmeError> {
        let path = super::files::certificate_path(std::path::Path::new(""));
        let identity = (|| {
            let chain = chain(&path, chain_pem.as_bytes())?;
            let key = private_key(&path, key_pem.as_bytes())?;
            Identity::new(chain, key, &path, &path, false, &self.provider)
        })();
        identity
            .map(drop)
            .map_err(|error| AcmeError::Unusable(error.to_string()))
    }

    fn challenge(&self) -> &'static str {
        match self.config.challenge {
            AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
            AcmeChallenge::Http01 => "http-01",
        }
    }

    fn refused(&self, what: &'static str) -> impl Fn(instant_acme::Error) -> AcmeError {
        move |error| AcmeError::of(what, &self.config.directory, &error)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn identifier(name: &str) -> Identifier {
    name.parse::<IpAddr>()
        .map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}
