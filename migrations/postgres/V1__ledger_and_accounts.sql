-- The truth: accounts, boards with their rules, scores, and the ledger of every decided action.
--
-- Texts that are identifiers compare by bytes (COLLATE "C"): faster, the same order as in the program (boards are
-- locked in it), and no index breaks when the system's locale data changes.

CREATE TABLE users (
    user_id       uuid PRIMARY KEY,
    username      text COLLATE "C" NOT NULL CHECK (username ~ '^[A-Za-z0-9_.-]{3,32}$'),
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL
);
-- Unique without case; names are ASCII, which lower() under "C" folds and nothing else.
CREATE UNIQUE INDEX users_username_folded ON users (lower(username));

CREATE TABLE sessions (
    session_id    uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users,
    -- SHA-256 of the refresh token that works now, and of the one before it.
    current_hash  bytea NOT NULL CHECK (octet_length(current_hash) = 32),
    previous_hash bytea CHECK (octet_length(previous_hash) = 32),
    created_at    timestamptz NOT NULL,
    rotated_at    timestamptz,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz
) WITH (fillfactor = 80); -- a rotation touches no index: room on the page keeps it there (HOT)
-- A user's own sessions.
CREATE INDEX sessions_open ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE boards (
    board   text COLLATE "C" PRIMARY KEY CHECK (board ~ '^[a-z0-9-]{1,64}$'),
    epoch   text NOT NULL CHECK (epoch ~ '^[!-~]{1,64}$' AND epoch !~ '[."]'),
    -- Gap-free, in commit order: this row is locked by every transaction that moves the board.
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0)
) WITH (fillfactor = 10); -- few rows, each rewritten by every batch: all in place (HOT)

CREATE TABLE action_types (
    board          text COLLATE "C" NOT NULL REFERENCES boards,
    action_type    text COLLATE "C" NOT NULL CHECK (action_type ~ '^[A-Za-z0-9_.:-]{1,64}$'),
    proof          text NOT NULL CHECK (proof IN ('session', 'issuer', 'token')),
    min_points     bigint NOT NULL CHECK (min_points >= -9007199254740991),
    max_points     bigint NOT NULL CHECK (max_points <= 9007199254740991),
    default_points bigint NOT NULL CHECK (default_points BETWEEN min_points AND max_points),
    daily_cap      bigint NOT NULL CHECK (daily_cap >= 0),
    PRIMARY KEY (board, action_type),
    CHECK (min_points <= max_points),
    -- The bearer token alone moves only what is fixed.
    CHECK (proof <> 'token' OR min_points = max_points)
);

-- Keys with which game servers sign. Revoked ones stay: the audit names them.
CREATE TABLE issuer_keys (
    key_id     text COLLATE "C" PRIMARY KEY CHECK (key_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    name       text NOT NULL,
    secret     bytea NOT NULL CHECK (octet_length(secret) = 32),
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE scores (
    board      text COLLATE "C" NOT NULL REFERENCES boards,
    user_id    uuid NOT NULL REFERENCES users,
    -- NULL: a tombstone. The user had a score until this version; projections have to hear of it.
    score      bigint CHECK (score BETWEEN -9007199254740991 AND 9007199254740991),
    version    bigint NOT NULL CHECK (version > 0),
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (board, user_id)
) WITH (fillfactor = 80); -- both indexes below change with every update (no HOT), but the new row stays on its page
-- The strict order: score descending, then who reached it first.
CREATE INDEX scores_by_rank ON scores (board, score DESC, version) WHERE score IS NOT NULL;
-- What a projection has missed.
CREATE UNIQUE INDEX scores_by_version ON scores (board, version);

-- The ledger and audit log: one row per decided action, never changed. No foreign keys: a refusal may name a board or a
-- user that does not exist.
CREATE TABLE actions (
    user_id         uuid NOT NULL,
    -- One acceptance by a gateway; a redelivery carries the same.
    submission      uuid NOT NULL,
    board           text COLLATE "C" NOT NULL,
    action_id       text COLLATE "C" NOT NULL,
    action_type     text COLLATE "C" NOT NULL,
    points          bigint NOT NULL,
    proof           text NOT NULL CHECK (proof IN ('session', 'issuer', 'token')),
    idempotency_key text COLLATE "C",
    content_hash    bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    -- 'applied', or the code of the refusal.
    outcome         text NOT NULL,
    -- The board's version that it made and the user's score right after it; NULL unless applied.
    version         bigint,
    score_after     bigint,
    accepted_at     timestamptz NOT NULL,
    decided_at      timestamptz NOT NULL,
    request_id      text NOT NULL,
    CHECK ((outcome = 'applied') = (version IS NOT NULL) AND (version IS NULL) = (score_after IS NULL)),
    UNIQUE (user_id, submission)
) PARTITION BY HASH (user_id);
CREATE TABLE actions_0 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 0);
CREATE TABLE actions_1 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 1);
CREATE TABLE actions_2 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 2);
CREATE TABLE actions_3 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 3);
CREATE TABLE actions_4 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 4);
CREATE TABLE actions_5 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 5);
CREATE TABLE actions_6 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 6);
CREATE TABLE actions_7 PARTITION OF actions FOR VALUES WITH (MODULUS 8, REMAINDER 7);
-- Effect exactly once: among applied rows an action and a key happen once. A refusal uses nothing up.
CREATE UNIQUE INDEX actions_once ON actions (user_id, board, action_id) WHERE version IS NOT NULL;
CREATE UNIQUE INDEX actions_key_once ON actions (user_id, idempotency_key)
    WHERE version IS NOT NULL AND idempotency_key IS NOT NULL;
-- The last refusal of an action, for its receipt.
CREATE INDEX actions_refused ON actions (user_id, board, action_id, decided_at) WHERE version IS NULL;

CREATE TABLE daily_points (
    board       text COLLATE "C" NOT NULL,
    user_id     uuid NOT NULL,
    action_type text COLLATE "C" NOT NULL,
    -- UTC.
    day         date NOT NULL,
    points      bigint NOT NULL,
    PRIMARY KEY (board, user_id, action_type, day)
) WITH (fillfactor = 70); -- rewritten by every action of the day, no index on what changes (HOT)

-- The board that a request means when it names none. An epoch is random: two databases never share a history.
INSERT INTO boards (board, epoch) VALUES ('global', left(replace(gen_random_uuid()::text, '-', ''), 12));
INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap) VALUES
    ('global', 'default', 'session', 1, 1000, 1, 1000000),
    ('global', 'task', 'token', 10, 10, 10, 1000);
