//! Every statement of this adapter, in one place, so that a test can PREPARE them all against a migrated database.
//!
//! What they have in common:
//! - One row per element of its array parameters, never one statement per update.
//! - Look-ups by array go through `CROSS JOIN LATERAL (… LIMIT 1)`. The limit changes nothing (each look-up is by a
//!   unique key); it keeps the planner from turning the look-ups into a join that reads a whole table, which a plan
//!   cached while the tables were small would go on doing when they are large.
//! - A reader's statement sees one snapshot, so rows and the board's head in one answer belong together.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* pub(super) const $name: &str = $sql;)+

        /// Every statement with its name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)+];
    };
}

/// What `FACT_DECIDED` asks of a ledger of any schema.
macro_rules! decided_since_schema_1 {
    () => {
        "
        WITH w AS MATERIALIZED (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
                AS w (user_id, submission, board, action_id, idempotency_key)
        )
        SELECT a.* FROM w CROSS JOIN LATERAL (
            SELECT submission, user_id, idempotency_key, content_hash, outcome, action_id, board, action_type, points,
                score_after, version, decided_at
            FROM actions WHERE user_id = w.user_id AND submission = w.submission LIMIT 1
        ) AS a
        UNION ALL
        SELECT a.* FROM w CROSS JOIN LATERAL (
            SELECT submission, user_id, idempotency_key, content_hash, outcome, action_id, board, action_type, points,
                score_after, version, decided_at
            FROM actions
            WHERE user_id = w.user_id AND board = w.board AND action_id = w.action_id AND version IS NOT NULL LIMIT 1
        ) AS a
        UNION ALL
        SELECT a.* FROM w CROSS JOIN LATERAL (
            SELECT submission, user_id, idempotency_key, content_hash, outcome, action_id, board, action_type, points,
                score_after, version, decided_at
            FROM actions
            WHERE user_id = w.user_id AND idempotency_key = w.idempotency_key AND version IS NOT NULL LIMIT 1
        ) AS a
        WHERE w.idempotency_key IS NOT NULL"
    };
}

statements! {
    // ---- the ledger's transaction -----------------------------------------------------------------------------------

    /// Locks the batch's boards in id order, so that writers cannot deadlock on them, and reads where they stand.
    /// NO KEY: rows that merely refer to the board may still be added meanwhile.
    LOCK_BOARDS = "
        SELECT board, epoch, version FROM boards WHERE board = ANY ($1::text[]) ORDER BY board FOR NO KEY UPDATE";

    /// The rules of the boards.
    FACT_RULES = "
        SELECT board, action_type, proof, min_points, max_points, default_points, daily_cap
        FROM action_types WHERE board = ANY ($1::text[])";

    /// The names of users.
    FACT_USERNAMES = "
        SELECT user_id, username FROM users WHERE user_id = ANY ($1::uuid[])";

    /// Scores by the position of the update that asks.
    FACT_SCORES = "
        SELECT w.at, s.score
        FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS w (board, user_id, at)
        CROSS JOIN LATERAL (
            SELECT score FROM scores WHERE board = w.board AND user_id = w.user_id AND score IS NOT NULL LIMIT 1
        ) AS s";

    /// Points of a day by the position of the update that asks.
    FACT_DAILY_POINTS = "
        SELECT w.at, d.points
        FROM unnest($1::text[], $2::uuid[], $3::text[]) WITH ORDINALITY AS w (board, user_id, action_type, at)
        CROSS JOIN LATERAL (
            SELECT points FROM daily_points
            WHERE board = w.board AND user_id = w.user_id AND action_type = w.action_type AND day = $4::date LIMIT 1
        ) AS d";

    /// Decided actions that share their submission, their action or their key with an update; held actions and what their
    /// reviews said among them.
    FACT_DECIDED = concat!(decided_since_schema_1!(), "
        UNION ALL
        SELECT a.* FROM w CROSS JOIN LATERAL (
            SELECT submission, user_id, idempotency_key, content_hash, outcome, action_id, board, action_type, points,
                score_after, version, decided_at
            FROM actions
            WHERE user_id = w.user_id AND board = w.board AND action_id = w.action_id
                AND outcome IN ('quarantined', 'forbidden') LIMIT 2
        ) AS a
        UNION ALL
        SELECT a.* FROM w CROSS JOIN LATERAL (
            SELECT submission, user_id, idempotency_key, content_hash, outcome, action_id, board, action_type, points,
                score_after, version, decided_at
            FROM actions
            WHERE user_id = w.user_id AND idempotency_key = w.idempotency_key AND outcome = 'quarantined' LIMIT 1
        ) AS a
        WHERE w.idempotency_key IS NOT NULL");

    /// Decided actions that share their submission, their action or their key with an update, on schema 1, where
    /// nothing is held.
    FACT_DECIDED_V1 = decided_since_schema_1!();

    /// Adds rows to the ledger.
    WRITE_LEDGER = "
        INSERT INTO actions (user_id, submission, board, action_id, action_type, points, proof, idempotency_key,
            content_hash, outcome, version, score_after, accepted_at, request_id,
            address_hash, reviewer, decided_at)
        SELECT w.*, $17::timestamptz
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
            $9::bytea[], $10::text[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::text[],
            $15::bytea[], $16::text[]) AS w";

    /// Adds rows to the ledger of schema 1.
    WRITE_LEDGER_V1 = "
        INSERT INTO actions (user_id, submission, board, action_id, action_type, points, proof, idempotency_key,
            content_hash, outcome, version, score_after, accepted_at, request_id, decided_at)
        SELECT w.*, $15::timestamptz
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
            $9::bytea[], $10::text[], $11::bigint[], $12::bigint[], $13::timestamptz[], $14::text[]) AS w";

    /// Sets scores: absolute values, each with the version that it was reached at.
    WRITE_SCORES = "
        INSERT INTO scores (board, user_id, score, version, updated_at)
        SELECT w.*, $5::timestamptz FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[]) AS w
        ON CONFLICT (board, user_id) DO UPDATE
        SET score = excluded.score, version = excluded.version, updated_at = excluded.updated_at";

    /// Sets the sums of a day.
    WRITE_DAILY_POINTS = "
        INSERT INTO daily_points (board, user_id, action_type, points, day)
        SELECT w.*, $5::date FROM unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[]) AS w
        ON CONFLICT (board, user_id, action_type, day) DO UPDATE SET points = excluded.points";

    /// Moves boards to their new versions.
    WRITE_VERSIONS = "
        UPDATE boards AS b SET version = w.version
        FROM unnest($1::text[], $2::bigint[]) AS w (board, version) WHERE b.board = w.board";

    // ---- reading the truth ------------------------------------------------------------------------------------------

    /// Every board with its rules; a board without rules has one row without a rule.
    BOARDS = "
        SELECT b.board, b.epoch, b.version, coalesce((to_jsonb(b) ->> 'stream_token')::boolean, false),
            t.action_type, t.proof, t.min_points, t.max_points, t.default_points, t.daily_cap
        FROM boards AS b LEFT JOIN action_types AS t ON t.board = b.board
        ORDER BY b.board, t.action_type";

    /// Where every board stands.
    HEADS = "
        SELECT board, epoch, version FROM boards ORDER BY board";

    /// The best of a board; an empty board has one row without a user.
    TOP = "
        SELECT b.epoch, b.version, s.user_id, u.username, s.score, s.version, s.updated_at
        FROM boards AS b
        LEFT JOIN LATERAL (
            SELECT user_id, score, version, updated_at FROM scores
            WHERE board = $1 AND score IS NOT NULL ORDER BY score DESC, version LIMIT $2
        ) AS s ON true
        LEFT JOIN users AS u ON u.user_id = s.user_id
        WHERE b.board = $1
        ORDER BY s.score DESC, s.version";

    /// A user's line with up to $3 lines on each side. The order mixes directions (score falls, version rises), which
    /// a row comparison cannot express over the index: each side is two ranges of it instead, the equal scores and the
    /// others. The rank is the user's own, on every row.
    NEIGHBORHOOD = "
        WITH own AS MATERIALIZED (
            SELECT b.epoch, b.version AS head, s.user_id, s.score, s.version, s.updated_at
            FROM boards AS b JOIN scores AS s ON s.board = b.board
            WHERE b.board = $1 AND s.user_id = $2 AND s.score IS NOT NULL
        ), above AS (
            (SELECT user_id, score, version, updated_at FROM scores
                WHERE board = $1 AND score = (SELECT score FROM own) AND version < (SELECT version FROM own)
                ORDER BY score, version DESC LIMIT $3)
            UNION ALL
            (SELECT user_id, score, version, updated_at FROM scores
                WHERE board = $1 AND score > (SELECT score FROM own)
                ORDER BY score, version DESC LIMIT $3)
            ORDER BY score, version DESC LIMIT $3
        ), below AS (
            (SELECT user_id, score, version, updated_at FROM scores
                WHERE board = $1 AND score = (SELECT score FROM own) AND version > (SELECT version FROM own)
                ORDER BY score DESC, version LIMIT $3)
            UNION ALL
            (SELECT user_id, score, version, updated_at FROM scores
                WHERE board = $1 AND score < (SELECT score FROM own)
                ORDER BY score DESC, version LIMIT $3)
            ORDER BY score DESC, version LIMIT $3
        ), lines AS (
            SELECT * FROM above
            UNION ALL SELECT user_id, score, version, updated_at FROM own
            UNION ALL SELECT * FROM below
        )
        SELECT own.epoch, own.head, l.user_id, u.username, l.score, l.version, l.updated_at,
            1 + (SELECT count(*) FROM scores WHERE board = $1 AND score > (SELECT score FROM own))
              + (SELECT count(*) FROM scores WHERE board = $1 AND score = (SELECT score FROM own)
                    AND version < (SELECT version FROM own)) AS own_rank
        FROM own CROSS JOIN lines AS l JOIN users AS u ON u.user_id = l.user_id
        ORDER BY l.score DESC, l.version";

    /// Rows above a version, tombstones too; one row without a user when there are none.
    ROWS_ABOVE = "
        SELECT b.epoch, b.version, s.user_id, u.username, s.score, s.version, s.updated_at
        FROM boards AS b
        LEFT JOIN LATERAL (
            SELECT user_id, score, version, updated_at FROM scores
            WHERE board = $1 AND version > $2 ORDER BY version LIMIT $3
        ) AS s ON true
        LEFT JOIN users AS u ON u.user_id = s.user_id
        WHERE b.board = $1
        ORDER BY s.version";

    /// Rows by user, tombstones too, after a user or from the first one; one row without a user when there are none.
    ROWS_BY_USER = "
        SELECT b.epoch, b.version, s.user_id, u.username, s.score, s.version, s.updated_at
        FROM boards AS b
        LEFT JOIN LATERAL (
            SELECT user_id, score, version, updated_at FROM scores
            WHERE board = $1 AND user_id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
            ORDER BY user_id LIMIT $3
        ) AS s ON true
        LEFT JOIN users AS u ON u.user_id = s.user_id
        WHERE b.board = $1
        ORDER BY s.user_id";

    /// A user's action: the applied row, else what a review or the quarantine says, else the last refusal.
    RECEIPT = "
        SELECT outcome, action_id, board, action_type, points, score_after, version, decided_at FROM (
            (SELECT 0 AS place, outcome, action_id, board, action_type, points, score_after, version, decided_at
                FROM actions
                WHERE user_id = $1 AND board = $2 AND action_id = $3 AND version IS NOT NULL LIMIT 1)
            UNION ALL
            (SELECT CASE outcome WHEN 'forbidden' THEN 1 ELSE 2 END,
                    outcome, action_id, board, action_type, points, score_after, version, decided_at
                FROM actions
                WHERE user_id = $1 AND board = $2 AND action_id = $3 AND version IS NULL
                    AND outcome IN ('quarantined', 'forbidden') LIMIT 2)
            UNION ALL
            (SELECT 3, outcome, action_id, board, action_type, points, score_after, version, decided_at FROM actions
                WHERE user_id = $1 AND board = $2 AND action_id = $3 AND version IS NULL
                ORDER BY decided_at DESC LIMIT 1)
        ) AS r ORDER BY place LIMIT 1";

    /// Sums over a board; as text, because they can pass 64 bits.
    DIGEST = "
        SELECT
            (SELECT count(*) FROM scores WHERE board = b.board AND score IS NOT NULL),
            (SELECT coalesce(sum(score), 0)::text FROM scores WHERE board = b.board AND score IS NOT NULL),
            (SELECT coalesce(sum(points), 0)::text FROM actions WHERE board = b.board AND version IS NOT NULL),
            (SELECT count(*) FROM actions WHERE board = b.board AND version IS NOT NULL)
        FROM boards AS b WHERE b.board = $1";

    /// Lines that are not what the ledger's applied actions come to: the sum of their points, at the newest version.
    DEVIATIONS = "
        SELECT user_id, s.score, s.version, l.version, l.points::text
        FROM (SELECT user_id, score, version FROM scores WHERE board = $1) AS s
        FULL JOIN (
            SELECT user_id, sum(points) AS points, max(version) AS version
            FROM actions WHERE board = $1 AND version IS NOT NULL GROUP BY user_id
        ) AS l USING (user_id)
        WHERE s.version IS DISTINCT FROM l.version OR s.score IS DISTINCT FROM l.points
        ORDER BY user_id LIMIT $2";

    // ---- the ledger as an audit, and the quarantine -----------------------------------------------------------------

    /// Points gained in a range of time by applied actions that no person decided, by board, user and slot.
    GAINS = "
        SELECT board, user_id, (extract(epoch FROM decided_at) * 1000)::bigint / $3::bigint * $3::bigint AS slot,
            least(sum(points), 9007199254740991)::bigint
        FROM actions
        WHERE decided_at > $1 AND decided_at <= $2 AND version IS NOT NULL AND points > 0 AND reviewer IS NULL
        GROUP BY board, user_id, slot";

    /// The newest rows of a user's story.
    AUDIT_USER = "
        SELECT submission, board, user_id, action_id, action_type, points, proof, idempotency_key, content_hash, accepted_at,
            request_id, address_hash, reviewer, outcome, action_id, board, action_type, points, score_after, version,
            decided_at
        FROM actions
        WHERE user_id = $1 AND ($2::text IS NULL OR board = $2) AND ($3::text IS NULL OR action_id = $3)
        ORDER BY decided_at DESC, submission DESC LIMIT $4";

    /// The newest rows of an action's story, whoever did it: reads the whole ledger.
    AUDIT_ACTION = "
        SELECT submission, board, user_id, action_id, action_type, points, proof, idempotency_key, content_hash, accepted_at,
            request_id, address_hash, reviewer, outcome, action_id, board, action_type, points, score_after, version,
            decided_at
        FROM actions
        WHERE action_id = $1 AND ($2::text IS NULL OR board = $2)
        ORDER BY decided_at DESC, submission DESC LIMIT $3";

    /// What waits for a review.
    HELD = "
        SELECT submission, board, user_id, action_id, action_type, points, proof, idempotency_key, content_hash, accepted_at,
            request_id, address_hash, reviewer, outcome, action_id, board, action_type, points, score_after, version,
            decided_at
        FROM actions AS q
        WHERE outcome IN ('quarantined', 'forbidden') AND outcome = 'quarantined'
            AND NOT EXISTS (SELECT 1 FROM actions AS r WHERE r.user_id = q.user_id AND r.board = q.board
                AND r.action_id = q.action_id AND r.version IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM actions AS r WHERE r.user_id = q.user_id AND r.board = q.board
                AND r.action_id = q.action_id AND r.outcome IN ('quarantined', 'forbidden') AND r.outcome = 'forbidden')
        ORDER BY decided_at, submission LIMIT $1";

    /// One action that is or was in quarantine.
    HELD_ONE = "
        SELECT submission, board, user_id, action_id, action_type, points, proof, idempotency_key, content_hash, accepted_at,
            request_id, address_hash, reviewer, outcome, action_id, board, action_type, points, score_after, version,
            decided_at
        FROM actions
        WHERE outcome IN ('quarantined', 'forbidden') AND outcome = 'quarantined' AND submission = $1 LIMIT 1";

    /// The newest migration that was applied.
    SCHEMA = "
        SELECT max(version) FROM refinery_schema_history";

    // ---- readiness --------------------------------------------------------------------------------------------------

    /// The newest migration that was applied, and whether the server takes no writes.
    STANDING = "
        SELECT (SELECT max(version) FROM refinery_schema_history), current_setting('transaction_read_only')::boolean";

    // ---- accounts and sessions --------------------------------------------------------------------------------------

    /// A new account, unless the name is taken in whatever case.
    CREATE_ACCOUNT = "
        INSERT INTO users (user_id, username, password_hash, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (lower(username)) DO NOTHING";

    /// An account by its name, without case.
    FIND_ACCOUNT = "
        SELECT user_id, username, password_hash FROM users WHERE lower(username) = lower($1 COLLATE \"C\")";

    /// The name of one user.
    USERNAME = "
        SELECT username FROM users WHERE user_id = $1";

    /// A new session.
    OPEN_SESSION = "
        INSERT INTO sessions (session_id, user_id, current_hash, created_at, expires_at)
        SELECT $1::uuid, user_id, $3::bytea, $4::timestamptz, $5::timestamptz
        FROM users WHERE user_id = $2 AND password_hash = $6 FOR SHARE";

    /// A session under lock, so that two rotations of one token take turns.
    LOCK_SESSION = "
        SELECT s.user_id, u.username, s.current_hash, s.previous_hash, s.rotated_at, s.expires_at, s.revoked_at
        FROM sessions AS s JOIN users AS u ON u.user_id = s.user_id
        WHERE s.session_id = $1 FOR NO KEY UPDATE OF s";

    /// The successor becomes the session's token.
    ROTATE_SESSION = "
        UPDATE sessions SET previous_hash = current_hash, current_hash = $2, rotated_at = $3, expires_at = $4
        WHERE session_id = $1";

    /// Ends a session that is not ended.
    REVOKE_SESSION = "
        UPDATE sessions SET revoked_at = $2 WHERE session_id = $1 AND revoked_at IS NULL";

    /// Another password, if it is still the one that was compared.
    CHANGE_PASSWORD = "
        UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2";

    /// Ends all sessions of a user but, where one is named, that one.
    REVOKE_SESSIONS = "
        UPDATE sessions SET revoked_at = $3
        WHERE user_id = $1 AND revoked_at IS NULL AND session_id IS DISTINCT FROM $2 RETURNING session_id";

    /// The sessions of a user that can still be refreshed, the newest first.
    OPEN_SESSIONS = "
        SELECT session_id, created_at, coalesce(rotated_at, created_at), expires_at FROM sessions
        WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, session_id LIMIT $3";

    /// Sessions that were ended at or after a time.
    REVOCATIONS = "
        SELECT session_id, revoked_at FROM sessions WHERE revoked_at >= $1 ORDER BY revoked_at, session_id";

    // ---- housekeeping -----------------------------------------------------------------------------------------------

    /// Sessions that expired, some at a time; rows that somebody else has in hand are left to that one.
    FORGET_SESSIONS = "
        DELETE FROM sessions WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM sessions WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";

    /// Sums of past days, the same way.
    FORGET_DAILY_SUMS = "
        DELETE FROM daily_points WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM daily_points WHERE day < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";

    // ---- boards and issuer keys, for the operator -------------------------------------------------------------------

    /// A new board with its rules, unless there is one of that name.
    CREATE_BOARD = "
        WITH made AS (
            INSERT INTO boards (board, epoch) VALUES ($1, $2) ON CONFLICT (board) DO NOTHING RETURNING board
        ), ruled AS (
            INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap)
            SELECT made.board, r.* FROM made CROSS JOIN
                unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) AS r
        )
        SELECT board FROM made";

    /// Adds an action type to a board that there is, or replaces it.
    SET_ACTION_TYPE = "
        INSERT INTO action_types (board, action_type, proof, min_points, max_points, default_points, daily_cap)
        SELECT board, $2::text, $3::text, $4::bigint, $5::bigint, $6::bigint, $7::bigint FROM boards WHERE board = $1
        ON CONFLICT (board, action_type) DO UPDATE SET proof = excluded.proof, min_points = excluded.min_points,
            max_points = excluded.max_points, default_points = excluded.default_points, daily_cap = excluded.daily_cap";

    /// Takes an action type off a board.
    REMOVE_ACTION_TYPE = "
        DELETE FROM action_types WHERE board = $1 AND action_type = $2";

    /// Whether a board's live stream demands a token.
    SET_STREAM_TOKEN = "
        UPDATE boards SET stream_token = $2 WHERE board = $1";

    /// A new issuer key.
    CREATE_ISSUER_KEY = "
        INSERT INTO issuer_keys (key_id, name, secret, created_at) VALUES ($1, $2, $3, $4)";

    /// Every issuer key, without secrets.
    LIST_ISSUER_KEYS = "
        SELECT key_id, name, created_at, revoked_at FROM issuer_keys ORDER BY created_at, key_id";

    /// Takes an issuer key out of use.
    REVOKE_ISSUER_KEY = "
        UPDATE issuer_keys SET revoked_at = $2 WHERE key_id = $1 AND revoked_at IS NULL";

    /// The issuer keys in use.
    ACTIVE_ISSUER_KEYS = "
        SELECT key_id, secret FROM issuer_keys WHERE revoked_at IS NULL ORDER BY key_id";
}
