-- Accounts that were given up: since when, and from when on what is left of them is erased (ML-11).
CREATE TABLE departures (
    user_id    uuid PRIMARY KEY REFERENCES users,
    at         timestamptz NOT NULL DEFAULT now(),
    due_at     timestamptz NOT NULL,
    erased_at  timestamptz
);
CREATE INDEX departures_at ON departures (at);
