//! People: login and logout, who there is, and what each may do.

use sterna_control_api::access::{Login, NewUser, PatchUser, Role, SessionBegun, UserView};
use sterna_control_api::audit::Page;
use zeroize::Zeroize as _;

use super::callers::{Fresh, Person, ShownKind};
use super::passwords::{PASSWORD_BYTES_MAX, weakness};
use super::refusal::{Proof, Refusal};
use super::{Service, texts};
use crate::domain::{SessionRecord, UserRecord};
use crate::limits::TEXT_BYTES_MAX;
use crate::metrics::LOGINS;
use crate::store::PageRequest;

impl Service {
    /// Begins a session. The same work and the same answer whatever is wrong.
    pub(crate) async fn login(&self, mut login: Login) -> Result<SessionBegun, Refusal> {
        let begun = self.login_with(&login).await;
        login.password.zeroize();
        let result = match &begun {
            Ok(_) => "ok",
            Err(refusal) if refusal.proof.is_some() => "wrong",
            Err(_) => "busy",
        };
        self.metrics.count(LOGINS, &[result]);
        begun
    }

    async fn login_with(&self, login: &Login) -> Result<SessionBegun, Refusal> {
        let wrong = || Refusal::unauthorized(Proof::WrongPassword);
        if login.name.len() > TEXT_BYTES_MAX || login.password.len() > PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        self.rates.login(&login.name)?;
        let user = self.answered(self.store.user(&login.name).await)?;
        let hash = user.as_ref().map(|user| user.password.as_str());
        let fits = self.passwords.verify(&login.password, hash).await?;
        let subject = format!("user:{}", login.name);
        let Some(user) = user.filter(|_| fits) else {
            self.note_refusal("nobody", &subject, "login").await;
            return Err(wrong());
        };
        let fresh = Fresh::new(ShownKind::Session);
        let now = self.now();
        let session = SessionRecord {
            id: fresh.id.clone(),
            secret_hash: fresh.hash,
            user: user.name.clone(),
            created: now,
            expires: now + u64::from(self.config.credentials.session_ttl_s),
        };
        let act = crate::domain::Act::new(subject, now);
        self.answered(self.store.begin_session(&session, &act).await)?;
        Ok(SessionBegun {
            token: (*fresh.text).clone(),
            expires: session.expires,
            role: user.role,
        })
    }

    /// Ends the caller's session.
    pub(crate) async fn logout(&self, person: &Person) -> Result<(), Refusal> {
        let Some(session) = &person.session else {
            return Err(Refusal::conflict(
                "an API token has no session to end; take it back with DELETE /tokens/{id}",
            ));
        };
        let act = person.act(self.now());
        self.answered(self.store.end_session(session, &act).await)
    }

    /// People, by name, a page at a time.
    pub(crate) async fn list_users(&self, page: &PageRequest) -> Result<Page<UserView>, Refusal> {
        let page = self.answered(self.store.users(page).await)?;
        Ok(Page {
            items: page.items.into_iter().map(view).collect(),
            next: page.next,
        })
    }

    /// Adds a person.
    pub(crate) async fn create_user(
        &self,
        person: &Person,
        mut new: NewUser,
    ) -> Result<UserView, Refusal> {
        texts::name("name", &new.name)?;
        if let Some(sentence) = weakness(&new.password) {
            return Err(Refusal::malformed(sentence));
        }
        let password = self.passwords.hash(&new.password).await;
        new.password.zeroize();
        let user = UserRecord {
            name: new.name,
            password: password?,
            role: new.role,
            created: self.now(),
        };
        let act = person.act(user.created);
        self.answered(self.store.create_user(&user, &act).await)?;
        Ok(view(user))
    }

    /// Changes a person. Who is no administrator changes the own password only.
    pub(crate) async fn patch_user(
        &self,
        person: &Person,
        name: &str,
        mut patch: PatchUser,
    ) -> Result<UserView, Refusal> {
        let is_self = person.actor == format!("user:{name}");
        let own_password = is_self && patch.role.is_none();
        if person.role < Role::Administrator && !own_password {
            self.note_refusal(&person.actor, &format!("user:{name}"), "PATCH")
                .await;
            return Err(Refusal::role_too_low());
        }
        if let Some(password) = patch.password.as_mut() {
            if let Some(sentence) = weakness(password) {
                return Err(Refusal::malformed(sentence));
            }
            let hash = self.passwords.hash(password).await;
            password.zeroize();
            *password = hash?;
        }
        let act = person.act(self.now());
        let changed = self.store.patch_user(name, &patch, &act).await;
        Ok(view(self.answered(changed)?))
    }

    /// Takes a person away.
    pub(crate) async fn delete_user(&self, person: &Person, name: &str) -> Result<(), Refusal> {
        let act = person.act(self.now());
        self.answered(self.store.delete_user(name, &act).await)
    }
}

fn view(user: UserRecord) -> UserView {
    UserView {
        name: user.name,
        role: user.role,
        created: user.created,
    }
}
