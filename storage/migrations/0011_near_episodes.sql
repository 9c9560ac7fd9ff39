-- Matches near each other (GEO-10): one row a pair that ever was, its newest episode. `low_told` and `high_told`
-- say who heard of its beginning, and so is to hear of its end.
CREATE TABLE near_episodes (
    low_id      uuid NOT NULL REFERENCES users,
    high_id     uuid NOT NULL REFERENCES users,
    episode     bigint NOT NULL,
    is_near     boolean NOT NULL,
    changed_at  timestamptz NOT NULL,
    low_told    boolean NOT NULL,
    high_told   boolean NOT NULL,
    PRIMARY KEY (low_id, high_id),
    CHECK (low_id < high_id)
);
CREATE INDEX near_episodes_high ON near_episodes (high_id);
