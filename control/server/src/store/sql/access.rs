//! People and their sessions.

use sterna_control_api::access::{PatchUser, Role};
use sterna_control_api::audit::Page;

use super::db::{Asked, Change, OrTaken as _, Row, values, word};
use super::{SqlStore, audit};
use crate::domain::{Act, SessionRecord, UserRecord};
use crate::store::{Conflict, PageRequest, Result, StoreError, Thing, Topic};

/// What is held while people are looked at and changed.
const LOCK: &str = "people";

pub(super) async fn user(asked: &mut Asked, name: &str) -> Result<Option<UserRecord>> {
    let sql = "SELECT name, password, role, created FROM people WHERE name = $1";
    let row = asked.row(sql, values![name]).await?;
    row.as_ref().map(read_user).transpose()
}

pub(super) async fn users(asked: &mut Asked, page: &PageRequest) -> Result<Page<UserRecord>> {
    let sql = "SELECT name, password, role, created FROM people WHERE name > $1 \
        ORDER BY name LIMIT $2";
    let after = page.after.clone().unwrap_or_default();
    let rows = asked.rows(sql, values![after, page.rows()]).await?;
    let users = rows.iter().map(read_user).collect::<Result<Vec<_>>>()?;
    Ok(page.page(users, |user| user.name.clone()))
}

pub(super) async fn session(
    asked: &mut Asked,
    id: &str,
    now: u64,
) -> Result<Option<(SessionRecord, Role)>> {
    let sql = "SELECT s.id, s.secret_hash, s.person, s.created, s.expires, p.role \
        FROM sessions s JOIN people p ON p.name = s.person WHERE s.id = $1 AND s.expires > $2";
    let row = asked.row(sql, values![id, now]).await?;
    row.map(|row| Ok((read_session(&row)?, row.word("role")?)))
        .transpose()
}

pub(super) async fn sessions(
    asked: &mut Asked,
    user: Option<&str>,
    now: u64,
    page: &PageRequest,
) -> Result<Page<SessionRecord>> {
    let sql = "SELECT id, secret_hash, person, created, expires FROM sessions \
        WHERE id > $1 AND expires > $2 AND ($3 IS NULL OR person = $3) ORDER BY id LIMIT $4";
    let after = page.after.clone().unwrap_or_default();
    let values = values![after, now, user.map(str::to_owned), page.rows()];
    let rows = asked.rows(sql, values).await?;
    let sessions = rows.iter().map(read_session).collect::<Result<Vec<_>>>()?;
    Ok(page.page(sessions, |session| session.id.clone()))
}

fn read_user(row: &Row) -> Result<UserRecord> {
    Ok(UserRecord {
        name: row.text("name")?,
        password: row.text("password")?,
        role: row.word("role")?,
        created: row.number("created")?,
    })
}

fn read_session(row: &Row) -> Result<SessionRecord> {
    Ok(SessionRecord {
        id: row.text("id")?,
        secret_hash: row.array("secret_hash")?,
        user: row.text("person")?,
        created: row.number("created")?,
        expires: row.number("expires")?,
    })
}

async fn write_user(change: &mut Change, user: &UserRecord, act: &Act) -> Result<()> {
    let sql = "INSERT INTO people (name, password, role, created) VALUES ($1, $2, $3, $4)";
    let values = values![&user.name, &user.password, word(user.role), user.created];
    change
        .execute(sql, values)
        .await
        .or_taken(Conflict::UserExists)?;
    let after = Some(user.described());
    audit::note(change, act, "user.create", &user.name, None, after).await
}

/// Refuses to leave nobody who is administrator.
async fn keep_an_administrator(change: &mut Change, but: &str) -> Result<()> {
    let sql = "SELECT name FROM people WHERE role = $1 AND name <> $2 LIMIT 1";
    let administrator = word(Role::Administrator);
    let other = change.row(sql, values![administrator, but]).await?;
    other.map(drop).ok_or(Conflict::LastAdministrator.into())
}

async fn end_sessions_of(change: &mut Change, name: &str) -> Result<()> {
    let sql = "DELETE FROM sessions WHERE person = $1";
    change.execute(sql, values![name]).await?;
    change.announce(Topic::Access, "");
    Ok(())
}

impl SqlStore {
    pub(super) async fn insert_user(&self, user: &UserRecord, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        write_user(&mut change, user, act).await?;
        change.commit().await
    }

    pub(super) async fn insert_first_user(&self, user: &UserRecord, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        change.lock(LOCK).await?;
        let sql = "SELECT name FROM people LIMIT 1";
        if change.row(sql, values![]).await?.is_some() {
            return Err(Conflict::NotTheFirstUser.into());
        }
        let first = UserRecord {
            role: Role::Administrator,
            ..user.clone()
        };
        write_user(&mut change, &first, act).await?;
        change.commit().await
    }

    pub(super) async fn update_user(
        &self,
        name: &str,
        patch: &PatchUser,
        act: &Act,
    ) -> Result<UserRecord> {
        let mut change = self.change().await?;
        change.lock(LOCK).await?;
        let before = user(&mut change, name)
            .await?
            .ok_or(StoreError::NotFound(Thing::User))?;
        let after = UserRecord {
            password: patch
                .password
                .clone()
                .unwrap_or_else(|| before.password.clone()),
            role: patch.role.unwrap_or(before.role),
            ..before.clone()
        };
        if before.role == Role::Administrator && after.role != Role::Administrator {
            keep_an_administrator(&mut change, name).await?;
        }
        let sql = "UPDATE people SET password = $2, role = $3 WHERE name = $1";
        let values = values![name, &after.password, word(after.role)];
        change.execute(sql, values).await?;
        if patch.password.is_some() {
            end_sessions_of(&mut change, name).await?;
        }
        let mut is = after.described();
        is["password_changed"] = patch.password.is_some().into();
        let was = Some(before.described());
        audit::note(&mut change, act, "user.patch", name, was, Some(is)).await?;
        change.announce(Topic::Access, "");
        change.commit().await?;
        Ok(after)
    }

    pub(super) async fn remove_user(&self, name: &str, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        change.lock(LOCK).await?;
        let before = user(&mut change, name)
            .await?
            .ok_or(StoreError::NotFound(Thing::User))?;
        if before.role == Role::Administrator {
            keep_an_administrator(&mut change, name).await?;
        }
        end_sessions_of(&mut change, name).await?;
        let sql = "DELETE FROM people WHERE name = $1";
        change.execute(sql, values![name]).await?;
        let was = Some(before.described());
        audit::note(&mut change, act, "user.delete", name, was, None).await?;
        change.commit().await
    }

    pub(super) async fn insert_session(&self, session: &SessionRecord, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        change.lock(LOCK).await?;
        user(&mut change, &session.user)
            .await?
            .ok_or(StoreError::NotFound(Thing::User))?;
        let sql = "INSERT INTO sessions (id, secret_hash, person, created, expires) \
            VALUES ($1, $2, $3, $4, $5)";
        let values = values![
            &session.id,
            &session.secret_hash,
            &session.user,
            session.created,
            session.expires
        ];
        change
            .execute(sql, values)
            .await
            .or_taken(Conflict::TokenExists)?;
        audit::note(&mut change, act, "session.begin", &session.user, None, None).await?;
        change.commit().await
    }

    pub(super) async fn remove_session(&self, id: &str, act: &Act) -> Result<()> {
        let mut change = self.change().await?;
        let sql = "DELETE FROM sessions WHERE id = $1 RETURNING person";
        let Some(row) = change.row(sql, values![id]).await? else {
            return Ok(());
        };
        let person = row.text("person")?;
        audit::note(&mut change, act, "session.end", person, None, None).await?;
        change.announce(Topic::Access, "");
        change.commit().await
    }
}
