-- Times are seconds since 1970. Ids and keys are texts as the API writes them; what is structured is
-- JSON. Counters that grow with a change are rows of `versions`.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE versions (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    digest BLOB
) STRICT;

CREATE TABLE regions (
    code TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    place TEXT,
    weight INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    noise_key TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL REFERENCES regions (code),
    version TEXT NOT NULL,
    services TEXT NOT NULL,
    capacity TEXT NOT NULL,
    desired TEXT NOT NULL,
    limits TEXT NOT NULL,
    orders INTEGER NOT NULL,
    registered INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
CREATE INDEX nodes_by_region ON nodes (region);

CREATE TABLE heartbeats (
    node TEXT NOT NULL PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    report TEXT NOT NULL
) STRICT;
CREATE INDEX heartbeats_by_time ON heartbeats (at);

-- `sealed`: encrypted with the key file beside the service, never with anything in this database.
CREATE TABLE keys (
    purpose TEXT NOT NULL,
    id TEXT NOT NULL,
    stage TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created INTEGER NOT NULL,
    since INTEGER NOT NULL,
    orders INTEGER NOT NULL,
    PRIMARY KEY (purpose, id)
) STRICT;

CREATE TABLE devices (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    identity TEXT NOT NULL,
    device_key TEXT NOT NULL,
    relay_key TEXT NOT NULL,
    previous_device_key TEXT,
    previous_relay_key TEXT,
    previous_until INTEGER NOT NULL,
    name TEXT NOT NULL,
    platform TEXT NOT NULL,
    version TEXT NOT NULL,
    group_ids TEXT NOT NULL,
    tags TEXT NOT NULL,
    overlay_place INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    registered INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX devices_by_identity ON devices (identity) WHERE revoked = 0;
CREATE UNIQUE INDEX devices_by_key ON devices (tenant, device_key) WHERE revoked = 0;
CREATE UNIQUE INDEX devices_by_place ON devices (tenant, overlay_place) WHERE revoked = 0;
CREATE INDEX devices_by_tenant ON devices (tenant, id);

-- The groups of devices that are not revoked.
CREATE TABLE device_groups (
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    group_id INTEGER NOT NULL,
    PRIMARY KEY (device, group_id)
) STRICT;
CREATE INDEX device_groups_by_group ON device_groups (tenant, group_id);

CREATE TABLE device_reports (
    device TEXT NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    home TEXT NOT NULL,
    nat TEXT NOT NULL,
    paths TEXT NOT NULL
) STRICT;

CREATE TABLE revocations (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    note TEXT NOT NULL,
    region TEXT,
    tenant TEXT,
    group_ids TEXT NOT NULL,
    tags TEXT NOT NULL,
    role TEXT,
    uses INTEGER NOT NULL,
    uses_max INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT;

CREATE TABLE people (
    name TEXT NOT NULL PRIMARY KEY,
    password TEXT NOT NULL,
    role TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    person TEXT NOT NULL REFERENCES people (name) ON DELETE CASCADE,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_person ON sessions (person);

CREATE TABLE nonces (
    signer BLOB NOT NULL,
    nonce BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (signer, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_time ON nonces (until);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    was TEXT,
    became TEXT
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_actor ON audit (actor, id);

-- Announcements that are too long for the feed of a database, until everybody has fetched them.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    payload TEXT NOT NULL
) STRICT;
