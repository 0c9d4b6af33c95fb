-- Where requests came from, who reviewed, and actions that wait for a review. A binary that knows only V1 goes on
-- writing: the new columns may be null.

-- The first 16 bytes of an HMAC of the client's address as limits count it; never the address.
ALTER TABLE actions ADD COLUMN address_hash bytea CHECK (octet_length(address_hash) = 16);
-- The person who decided, on the rows of reviews.
ALTER TABLE actions ADD COLUMN reviewer text;

-- An action in quarantine has the outcome 'quarantined'; its review adds a row 'applied' or 'forbidden' of the same
-- user, board and action. Few rows, so the list of reviews walks all entries.
CREATE INDEX actions_held ON actions (user_id, board, action_id) WHERE outcome IN ('quarantined', 'forbidden');
-- It uses its key. (The board's lock keeps an action from being held twice; keys cross boards.)
CREATE UNIQUE INDEX actions_held_key ON actions (user_id, idempotency_key)
    WHERE outcome = 'quarantined' AND idempotency_key IS NOT NULL;
-- What was gained lately. Rows are added in the order of time, so ranges of pages are enough.
CREATE INDEX actions_by_time ON actions USING brin (decided_at) WITH (pages_per_range = 32, autosummarize = on);
