-- compat: 4
-- What a virtual actor wants to be told at a time, whichever shard hosts it by then (ACT-8). It stays until
-- the actor has done what it was reminded of, so it is told at least once.
CREATE TABLE reminders (
    kind    text NOT NULL,
    key     text NOT NULL,
    name    text NOT NULL,
    slot    smallint NOT NULL,
    due_at  timestamptz NOT NULL,
    data    json NOT NULL,
    PRIMARY KEY (kind, key, name)
);
CREATE INDEX reminders_due ON reminders (slot, due_at);
