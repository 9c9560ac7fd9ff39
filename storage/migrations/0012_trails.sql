-- The fixes of each person's last hours, for that person alone (GEO-24): a row a minute, sealed.

CREATE TABLE trails (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL,
    sealed     bytea NOT NULL
);
CREATE INDEX trails_user ON trails (user_id, from_at, id);
CREATE INDEX trails_age ON trails (to_at);

-- Whoever still holds fixes from before this moment (by the engine's clock) stores them no more.
CREATE TABLE trail_erasures (
    user_id  uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL
);
