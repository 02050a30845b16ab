-- Times are seconds since 1970. Ids and keys are texts as the API writes them; what is structured is
-- JSON. Counters that grow with a change are rows of `versions`.

CREATE TABLE meta (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    content BYTEA NOT NULL
);

CREATE TABLE versions (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    digest BYTEA
);

CREATE TABLE regions (
    code TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    place TEXT COLLATE "C",
    weight BIGINT NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE nodes (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    noise_key TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    region TEXT COLLATE "C" NOT NULL REFERENCES regions (code),
    version TEXT COLLATE "C" NOT NULL,
    services TEXT COLLATE "C" NOT NULL,
    capacity TEXT COLLATE "C" NOT NULL,
    desired TEXT COLLATE "C" NOT NULL,
    limits TEXT COLLATE "C" NOT NULL,
    orders BIGINT NOT NULL,
    registered BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
CREATE INDEX nodes_by_region ON nodes (region);

CREATE TABLE heartbeats (
    node TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    report TEXT COLLATE "C" NOT NULL
);
CREATE INDEX heartbeats_by_time ON heartbeats (at);

-- `sealed`: encrypted with the key file beside the service, never with anything in this database.
CREATE TABLE keys (
    purpose TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    stage TEXT COLLATE "C" NOT NULL,
    sealed BYTEA NOT NULL,
    created BIGINT NOT NULL,
    since BIGINT NOT NULL,
    orders BIGINT NOT NULL,
    PRIMARY KEY (purpose, id)
);

CREATE TABLE devices (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant TEXT COLLATE "C" NOT NULL,
    identity TEXT COLLATE "C" NOT NULL,
    device_key TEXT COLLATE "C" NOT NULL,
    relay_key TEXT COLLATE "C" NOT NULL,
    previous_device_key TEXT COLLATE "C",
    previous_relay_key TEXT COLLATE "C",
    previous_until BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    platform TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    group_ids TEXT COLLATE "C" NOT NULL,
    tags TEXT COLLATE "C" NOT NULL,
    overlay_place BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    registered BIGINT NOT NULL
);
CREATE UNIQUE INDEX devices_by_identity ON devices (identity) WHERE revoked = 0;
CREATE UNIQUE INDEX devices_by_key ON devices (tenant, device_key) WHERE revoked = 0;
CREATE UNIQUE INDEX devices_by_place ON devices (tenant, overlay_place) WHERE revoked = 0;
CREATE INDEX devices_by_tenant ON devices (tenant, id);

-- The groups of devices that are not revoked.
CREATE TABLE device_groups (
    device TEXT COLLATE "C" NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    tenant TEXT COLLATE "C" NOT NULL,
    group_id BIGINT NOT NULL,
    PRIMARY KEY (device, group_id)
);
CREATE INDEX device_groups_by_group ON device_groups (tenant, group_id);

CREATE TABLE device_reports (
    device TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    counter BIGINT NOT NULL,
    home TEXT COLLATE "C" NOT NULL,
    nat TEXT COLLATE "C" NOT NULL,
    paths TEXT COLLATE "C" NOT NULL
);

CREATE TABLE revocations (
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE tokens (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    secret_hash BYTEA NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    region TEXT COLLATE "C",
    tenant TEXT COLLATE "C",
    group_ids TEXT COLLATE "C" NOT NULL,
    tags TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C",
    uses BIGINT NOT NULL,
    uses_max BIGINT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT NOT NULL
);

CREATE TABLE people (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    password TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_hash BYTEA NOT NULL,
    person TEXT COLLATE "C" NOT NULL REFERENCES people (name) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sessions_by_person ON sessions (person);

CREATE TABLE nonces (
    signer BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (signer, nonce)
);
CREATE INDEX nonces_by_time ON nonces (until);

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    was TEXT COLLATE "C",
    became TEXT COLLATE "C"
);
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_actor ON audit (actor, id);

-- Announcements that are too long for the feed of a database, until everybody has fetched them.
CREATE TABLE messages (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    payload TEXT COLLATE "C" NOT NULL
);
