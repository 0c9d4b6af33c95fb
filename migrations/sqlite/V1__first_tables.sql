-- The truth of the embedded backend. Identifiers are 16-byte blobs, times are milliseconds since the Unix epoch (UTC),
-- hashes are 32-byte blobs. The same tables as migrations/postgres, in SQLite's types.

CREATE TABLE users (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username        TEXT    NOT NULL,
    -- The form under which names are unique: lower case.
    username_folded TEXT    NOT NULL UNIQUE,
    -- argon2id in PHC form.
    password_hash   TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row is one login and everything refreshed from it. Tokens are kept as SHA-256 only.
CREATE TABLE sessions (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user          BLOB    NOT NULL REFERENCES users (id),
    current_hash  BLOB    NOT NULL CHECK (length(current_hash) = 32),
    previous_hash BLOB             CHECK (length(previous_hash) = 32),
    rotated_at    INTEGER,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    revoked_at    INTEGER,
    CHECK ((previous_hash IS NULL) = (rotated_at IS NULL))
) STRICT, WITHOUT ROWID;

-- A user's own sessions.
CREATE INDEX sessions_open ON sessions (user) WHERE revoked_at IS NULL;
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE boards (
    id      TEXT    NOT NULL PRIMARY KEY,
    epoch   TEXT    NOT NULL,
    -- Gap-free, in commit order.
    version INTEGER NOT NULL CHECK (version >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE action_types (
    board          TEXT    NOT NULL REFERENCES boards (id),
    action_type    TEXT    NOT NULL,
    proof          TEXT    NOT NULL CHECK (proof IN ('session', 'issuer', 'token')),
    min_points     INTEGER NOT NULL,
    max_points     INTEGER NOT NULL,
    default_points INTEGER NOT NULL,
    daily_cap      INTEGER NOT NULL,
    PRIMARY KEY (board, action_type),
    CHECK (min_points <= default_points AND default_points <= max_points)
) STRICT, WITHOUT ROWID;

-- Keys with which game servers sign. Revoked ones stay: the audit names them.
CREATE TABLE issuer_keys (
    key_id     TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    secret     BLOB    NOT NULL CHECK (length(secret) = 32),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- The newest row of every user on every board; a null score is the tombstone that a removal leaves.
CREATE TABLE scores (
    board      TEXT    NOT NULL REFERENCES boards (id),
    user       BLOB    NOT NULL REFERENCES users (id),
    score      INTEGER CHECK (abs(score) <= 9007199254740991),
    version    INTEGER NOT NULL CHECK (version > 0),
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (board, user)
) STRICT, WITHOUT ROWID;

-- The strict order: score descending, then who reached it first.
CREATE INDEX scores_rank ON scores (board, score DESC, version) WHERE score IS NOT NULL;

-- What projections catch up from; no two rows of a board share a version.
CREATE UNIQUE INDEX scores_version ON scores (board, version);

-- The ledger and audit log: one row for each decided update. No reference to boards and users: an update for a board
-- that does not exist is decided too, and its refusal is on record.
CREATE TABLE actions (
    id              INTEGER PRIMARY KEY,
    submission      BLOB    NOT NULL UNIQUE CHECK (length(submission) = 16),
    board           TEXT    NOT NULL,
    user            BLOB    NOT NULL CHECK (length(user) = 16),
    action_id       TEXT    NOT NULL,
    action_type     TEXT    NOT NULL,
    points          INTEGER NOT NULL,
    score_after     INTEGER,
    version         INTEGER,
    proof           TEXT    NOT NULL CHECK (proof IN ('session', 'issuer', 'token')),
    idempotency_key TEXT,
    content_hash    BLOB    NOT NULL CHECK (length(content_hash) = 32),
    -- 'applied', or the code of the refusal.
    outcome         TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    accepted_at     INTEGER NOT NULL,
    decided_at      INTEGER NOT NULL,
    CHECK ((outcome = 'applied') = (version IS NOT NULL)),
    CHECK ((version IS NULL) = (score_after IS NULL))
) STRICT;

-- A refusal uses nothing up, so only applied rows are unique.
CREATE UNIQUE INDEX actions_applied ON actions (board, user, action_id) WHERE outcome = 'applied';
CREATE UNIQUE INDEX actions_key ON actions (user, idempotency_key)
    WHERE outcome = 'applied' AND idempotency_key IS NOT NULL;
-- The newest refusal of an action, for its receipt.
CREATE INDEX actions_refused ON actions (board, user, action_id, id) WHERE outcome <> 'applied';

-- Points by user, type and UTC day (days since the Unix epoch), for daily caps.
CREATE TABLE daily_points (
    board       TEXT    NOT NULL,
    user        BLOB    NOT NULL,
    day         INTEGER NOT NULL,
    action_type TEXT    NOT NULL,
    points      INTEGER NOT NULL,
    PRIMARY KEY (board, user, day, action_type)
) STRICT, WITHOUT ROWID;

-- Updates that no transaction takes, put aside for a person to look at.
CREATE TABLE dead_letters (
    id              INTEGER PRIMARY KEY,
    submission      BLOB    NOT NULL,
    board           TEXT    NOT NULL,
    user            BLOB    NOT NULL,
    action_id       TEXT    NOT NULL,
    action_type     TEXT    NOT NULL,
    points          INTEGER NOT NULL,
    proof           TEXT    NOT NULL,
    idempotency_key TEXT,
    content_hash    BLOB    NOT NULL,
    accepted_at     INTEGER NOT NULL,
    request_id      TEXT    NOT NULL,
    traceparent     TEXT    NOT NULL,
    tracestate      TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    put_aside_at    INTEGER NOT NULL
) STRICT;
