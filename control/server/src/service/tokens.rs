//! Join tokens, enrolment keys and API tokens. A secret is shown once and kept as a hash.

use sterna_control_api::access::{
    NewApiToken, NewEnrolmentKey, NewJoinToken, TokenKind, TokenMade, TokenView,
};
use sterna_control_api::audit::Page;
use sterna_control_api::limits::GROUPS_MAX;

use super::callers::{Fresh, Person, ShownKind};
use super::refusal::{Proof, Refusal};
use super::{Service, texts};
use crate::domain::TokenRecord;
use crate::limits::{TAGS_MAX, TOKEN_TTL_MAX_S};
use crate::store::PageRequest;

impl Service {
    /// Makes what lets a node join.
    pub(crate) async fn make_join_token(
        &self,
        person: &Person,
        wanted: NewJoinToken,
    ) -> Result<TokenMade, Refusal> {
        texts::region_code("region", &wanted.region)?;
        texts::within("uses_max", wanted.uses_max.into(), 1, 1_000_000)?;
        texts::within("ttl_s", wanted.ttl_s.into(), 1, TOKEN_TTL_MAX_S.into())?;
        texts::note("note", &wanted.note)?;
        let (fresh, mut record) = self.fresh_token(TokenKind::Join, wanted.ttl_s, wanted.note);
        record.region = Some(wanted.region);
        record.uses_max = wanted.uses_max;
        self.keep(person, &fresh, &record).await
    }

    /// Makes what lets a device enrol.
    pub(crate) async fn make_enrolment_key(
        &self,
        person: &Person,
        wanted: NewEnrolmentKey,
    ) -> Result<TokenMade, Refusal> {
        texts::at_most("groups", &wanted.groups, GROUPS_MAX)?;
        texts::at_most("tags", &wanted.tags, TAGS_MAX)?;
        wanted
            .tags
            .iter()
            .try_for_each(|tag| texts::name("tags", tag))?;
        texts::within("ttl_s", wanted.ttl_s.into(), 1, TOKEN_TTL_MAX_S.into())?;
        texts::within("uses_max", wanted.uses_max.into(), 0, 1_000_000)?;
        texts::note("note", &wanted.note)?;
        let (fresh, mut record) = self.fresh_token(TokenKind::Enrolment, wanted.ttl_s, wanted.note);
        record.tenant = Some(wanted.tenant);
        record.groups = wanted.groups;
        record.groups.sort_unstable();
        record.groups.dedup();
        record.tags = wanted.tags;
        record.uses_max = wanted.uses_max;
        self.keep(person, &fresh, &record).await
    }

    /// Makes what lets a script call.
    pub(crate) async fn make_api_token(
        &self,
        person: &Person,
        wanted: NewApiToken,
    ) -> Result<TokenMade, Refusal> {
        if wanted.role > person.role {
            return Err(Refusal::role_too_low().because(Proof::RoleTooLow));
        }
        texts::name("note", &wanted.note)?;
        let (fresh, mut record) = self.fresh_token(TokenKind::Api, wanted.ttl_s, wanted.note);
        record.role = Some(wanted.role);
        self.keep(person, &fresh, &record).await
    }

    /// Tokens of a kind, by id, a page at a time.
    pub(crate) async fn list_tokens(
        &self,
        kind: TokenKind,
        page: &PageRequest,
    ) -> Result<Page<TokenView>, Refusal> {
        let page = self.answered(self.store.tokens(Some(kind), page).await)?;
        Ok(Page {
            items: page.items.into_iter().map(view).collect(),
            next: page.next,
        })
    }

    /// Takes a token back. An API token of a higher role is not the caller's to take.
    pub(crate) async fn revoke_token(&self, person: &Person, id: &str) -> Result<(), Refusal> {
        let token = self.answered(self.store.token(id).await)?;
        let token = token.ok_or_else(Refusal::not_found)?;
        if token.role.is_some_and(|role| role > person.role) {
            return Err(Refusal::role_too_low());
        }
        let act = person.act(self.now());
        self.answered(self.store.revoke_token(id, &act).await)?;
        Ok(())
    }

    fn fresh_token(&self, kind: TokenKind, ttl_s: u32, note: String) -> (Fresh, TokenRecord) {
        let fresh = Fresh::new(ShownKind::Token(kind));
        let now = self.now();
        let record = TokenRecord {
            id: fresh.id.clone(),
            kind,
            secret_hash: fresh.hash,
            note,
            region: None,
            tenant: None,
            groups: Vec::new(),
            tags: Vec::new(),
            role: None,
            uses: 0,
            uses_max: 0,
            created: now,
            expires: if ttl_s == 0 {
                0
            } else {
                now + u64::from(ttl_s)
            },
            revoked: false,
        };
        (fresh, record)
    }

    async fn keep(
        &self,
        person: &Person,
        fresh: &Fresh,
        record: &TokenRecord,
    ) -> Result<TokenMade, Refusal> {
        let act = person.act(self.now());
        self.answered(self.store.create_token(record, &act).await)?;
        Ok(TokenMade {
            id: record.id.clone(),
            token: (*fresh.text).clone(),
            expires: record.expires,
        })
    }
}

fn view(token: TokenRecord) -> TokenView {
    TokenView {
        id: token.id,
        kind: token.kind,
        note: token.note,
        region: token.region,
        tenant: token.tenant,
        role: token.role,
        uses: token.uses,
        uses_max: token.uses_max,
        created: token.created,
        expires: token.expires,
        revoked: token.revoked,
    }
}
