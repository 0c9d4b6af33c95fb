-- Where requests came from, who reviewed, and actions that wait for a review; see the same file for PostgreSQL.

-- The first 16 bytes of an HMAC of the client's address as limits count it; never the address.
ALTER TABLE actions ADD COLUMN address_hash BLOB CHECK (length(address_hash) = 16);
-- The person who decided, on the rows of reviews.
ALTER TABLE actions ADD COLUMN reviewer TEXT;
ALTER TABLE dead_letters ADD COLUMN address_hash BLOB CHECK (length(address_hash) = 16);

-- An action in quarantine has the outcome 'quarantined'; its review adds a row 'applied' or 'forbidden' of the same
-- user, board and action.
CREATE UNIQUE INDEX actions_held ON actions (board, user, action_id, outcome)
    WHERE outcome IN ('quarantined', 'forbidden');
CREATE UNIQUE INDEX actions_held_key ON actions (user, idempotency_key)
    WHERE outcome = 'quarantined' AND idempotency_key IS NOT NULL;
