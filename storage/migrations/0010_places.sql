-- compat: 9
-- Where a person stays and the places that makes, for themselves alone (GEO-19). What tells where is sealed
-- (AES-256-GCM under the engine's secret key, bound to table and row); who and when a stay began are not.
ALTER TABLE users ADD COLUMN keeps_places boolean NOT NULL DEFAULT true;
ALTER TABLE users ADD COLUMN infers_home_and_work boolean NOT NULL DEFAULT false;

CREATE TABLE places (
    id       uuid PRIMARY KEY,
    user_id  uuid NOT NULL,
    sealed   bytea NOT NULL
);
CREATE INDEX places_user ON places (user_id);

CREATE TABLE stays (
    user_id   uuid NOT NULL,
    since     timestamptz NOT NULL,
    is_over   boolean NOT NULL,
    place_id  uuid NOT NULL REFERENCES places ON DELETE CASCADE,
    sealed    bytea NOT NULL,
    PRIMARY KEY (user_id, since)
);
CREATE INDEX stays_place ON stays (place_id);
CREATE UNIQUE INDEX stays_open ON stays (user_id) WHERE NOT is_over;
