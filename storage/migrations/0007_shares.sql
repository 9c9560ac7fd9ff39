-- Live location shares (GEO-22): who shows whom, how precisely and until when. A share ends once.
CREATE TABLE shares (
    id          uuid PRIMARY KEY,
    sharer_id   uuid NOT NULL REFERENCES users,
    precision   text NOT NULL CHECK (precision IN ('exact', 'r9', 'r8', 'r7', 'city')),
    created_at  timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    ended_at    timestamptz
);
CREATE INDEX shares_sharer ON shares (sharer_id) WHERE ended_at IS NULL;

-- Whom a share is with: until they leave it, or a block or the end of the match takes them out.
CREATE TABLE share_receivers (
    share_id        uuid NOT NULL REFERENCES shares,
    user_id         uuid NOT NULL REFERENCES users,
    viewed_at       timestamptz,                     -- for the first time
    last_viewed_at  timestamptz,
    left_at         timestamptz,
    PRIMARY KEY (share_id, user_id)
);
CREATE INDEX share_receivers_user ON share_receivers (user_id) WHERE left_at IS NULL;
