-- The first schema: accounts, connections, rooms and their logs, fences, per-user streams,
-- slot ownership and the outbox. Ids are UUIDv7. Offsets count from 1 and never skip.

-- Who a person is -----------------------------------------------------------------------------

CREATE TABLE users (
    id                   uuid PRIMARY KEY,
    handle               text NOT NULL,
    password_hash        text,                       -- argon2id; NULL: cannot sign in with a password
    birth_date           date NOT NULL,
    mail                 text,
    status               text NOT NULL DEFAULT 'active'
        CHECK (status IN ('pending', 'active', 'paused', 'suspended', 'deleting', 'erased')),
    visibility_audience  text NOT NULL DEFAULT 'matches'
        CHECK (visibility_audience IN ('nobody', 'matches', 'group', 'everyone')),
    visibility_precision text NOT NULL DEFAULT 'r8'
        CHECK (visibility_precision IN ('exact', 'r9', 'r8', 'r7', 'city', 'hidden')),
    who_can_add_me       text NOT NULL DEFAULT 'matches'
        CHECK (who_can_add_me IN ('nobody', 'matches', 'group', 'everyone')),
    roles                text[] NOT NULL DEFAULT '{}',
    version              bigint NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_handle ON users (lower(handle));

CREATE TABLE sessions (
    id                  uuid PRIMARY KEY,            -- the access token's sid
    user_id             uuid NOT NULL REFERENCES users,
    device              text NOT NULL,
    refresh_sha256      bytea NOT NULL,
    refresh_generation  integer NOT NULL DEFAULT 1,
    created_at          timestamptz NOT NULL DEFAULT now(),
    expires_at          timestamptz NOT NULL,
    revoked_at          timestamptz
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE UNIQUE INDEX sessions_refresh ON sessions (refresh_sha256);

CREATE TABLE signing_keys (
    kid                  text PRIMARY KEY,
    public_jwk           json NOT NULL,
    private_key_sealed   bytea NOT NULL,             -- AES-256-GCM under the engine's secret key
    created_at           timestamptz NOT NULL DEFAULT now(),
    retired_at           timestamptz
);

-- One row per unordered pair (identity.md, CONN) ------------------------------------------------

CREATE TABLE connections (
    low_id         uuid NOT NULL REFERENCES users,
    high_id        uuid NOT NULL REFERENCES users,
    state          text NOT NULL DEFAULT 'none'
        CHECK (state IN ('none', 'requested', 'matched', 'declined', 'unmatched', 'expired')),
    acting_id      uuid,                             -- who requested or declined
    low_blocks     boolean NOT NULL DEFAULT false,
    high_blocks    boolean NOT NULL DEFAULT false,
    version        bigint NOT NULL DEFAULT 1,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (low_id, high_id),
    CHECK (low_id < high_id)
);
CREATE INDEX connections_high ON connections (high_id);

-- Rooms and their durable logs -----------------------------------------------------------------

CREATE TABLE rooms (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('group', 'direct', 'place')),
    durability   text NOT NULL DEFAULT 'durable' CHECK (durability IN ('durable', 'memory')),
    owner_id     uuid NOT NULL REFERENCES users,
    fence_id     uuid,
    epoch        text NOT NULL,                      -- changes only if acknowledged tail was lost (RT-5)
    last_offset  bigint NOT NULL DEFAULT 0,
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE room_members (
    room_id    uuid NOT NULL REFERENCES rooms,
    user_id    uuid NOT NULL REFERENCES users,
    role       text NOT NULL DEFAULT 'member' CHECK (role IN ('owner', 'admin', 'member')),
    state      text NOT NULL DEFAULT 'member'
        CHECK (state IN ('member', 'invited', 'requested', 'banned', 'left')),
    joined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX room_members_user ON room_members (user_id) WHERE state = 'member';

-- A room's log. The (room, offset) key includes the partition column, as Postgres asks; that an
-- offset is used once is proved by the compare-and-set on rooms.last_offset in append_messages.
CREATE TABLE messages (
    room_id    uuid NOT NULL,
    "offset"   bigint NOT NULL,
    sent_at    timestamptz NOT NULL,
    id         uuid NOT NULL,
    sender_id  uuid NOT NULL,
    cid        text,
    body       json NOT NULL,
    PRIMARY KEY (room_id, "offset", sent_at)
) PARTITION BY RANGE (sent_at);
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

-- Idempotency keys outlive any partition: a cid is unique for ever (protocol.md §2).
CREATE TABLE message_cids (
    room_id    uuid NOT NULL,
    sender_id  uuid NOT NULL,
    cid        text NOT NULL,
    "offset"   bigint NOT NULL,
    id         uuid NOT NULL,
    sent_at    timestamptz NOT NULL,
    PRIMARY KEY (room_id, sender_id, cid)
);

-- Creates the monthly partition that holds `moment`, if it is missing. Rows that already went to
-- the default partition stay there: attaching would have to move them.
CREATE FUNCTION ensure_message_partition(moment timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', moment AT TIME ZONE 'UTC')::date;
    name  text := 'messages_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF messages FOR VALUES FROM (%L) TO (%L)',
            name, first::text || ' 00:00:00+00', (first + interval '1 month')::date::text || ' 00:00:00+00');
    END IF;
END $$;

-- Geofences --------------------------------------------------------------------------------------

CREATE TABLE fences (
    id             uuid PRIMARY KEY,
    owner_id       uuid NOT NULL REFERENCES users,
    name           text NOT NULL,
    shape          json NOT NULL,                    -- GeoJSON geometry (RFC 7946), as given and validated
    dwell_s        integer NOT NULL DEFAULT 300 CHECK (dwell_s > 0),
    confirm_fixes  integer NOT NULL DEFAULT 2 CHECK (confirm_fixes BETWEEN 1 AND 10),
    audience       text NOT NULL DEFAULT 'everyone'
        CHECK (audience IN ('nobody', 'matches', 'group', 'everyone')),
    room_id        uuid REFERENCES rooms,
    created_at     timestamptz NOT NULL DEFAULT now(),
    removed_at     timestamptz
);

CREATE TABLE fence_grants (
    user_id    uuid NOT NULL REFERENCES users,
    fence_id   uuid NOT NULL REFERENCES fences,
    "grant"    text NOT NULL DEFAULT 'count' CHECK ("grant" IN ('exact', 'count')),
    auto_join  boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, fence_id)
);

-- Who is inside: one row per open visit. `visit` counts a user's visits to a fence, so a crossing has a
-- name and can be applied once only.
CREATE TABLE fence_visits (
    user_id     uuid NOT NULL,
    fence_id    uuid NOT NULL,
    visit       bigint NOT NULL,
    entered_at  timestamptz NOT NULL,
    exited_at   timestamptz,
    PRIMARY KEY (user_id, fence_id, visit)
);
CREATE UNIQUE INDEX fence_visits_open ON fence_visits (user_id, fence_id) WHERE exited_at IS NULL;
CREATE INDEX fence_visits_inside ON fence_visits (fence_id) WHERE exited_at IS NULL;

-- A person's own durable streams: `me` and `fences`. Offsets are allocated by the database, inside the
-- business transaction, because several writers append (a crossing, a connection, an invitation).
CREATE TABLE user_streams (
    user_id      uuid NOT NULL,
    stream       text NOT NULL CHECK (stream IN ('me', 'fences')),
    epoch        text NOT NULL,
    last_offset  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, stream)
);

CREATE TABLE user_events (
    user_id   uuid NOT NULL,
    stream    text NOT NULL,
    "offset"  bigint NOT NULL,
    id        uuid NOT NULL,
    at        timestamptz NOT NULL,
    body      json NOT NULL,
    PRIMARY KEY (user_id, stream, "offset")
);

CREATE FUNCTION append_user_event(a_user uuid, a_stream text, a_id uuid, a_at timestamptz, a_body json)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    assigned bigint;
BEGIN
    INSERT INTO user_streams AS s (user_id, stream, epoch, last_offset)
    VALUES (a_user, a_stream, replace(gen_random_uuid()::text, '-', ''), 1)
    ON CONFLICT (user_id, stream) DO UPDATE SET last_offset = s.last_offset + 1
    RETURNING last_offset INTO assigned;
    INSERT INTO user_events (user_id, stream, "offset", id, at, body)
    VALUES (a_user, a_stream, assigned, a_id, a_at, a_body);
    RETURN assigned;
END $$;

-- Who owns what: slots, shards (ACT-3, ACT-4) ------------------------------------------------------

CREATE TABLE directory (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    version   bigint NOT NULL
);
INSERT INTO directory (version) VALUES (1);

CREATE TABLE shards (
    shard        integer PRIMARY KEY,
    incarnation  text NOT NULL,
    address      text NOT NULL
);

CREATE TABLE slots (
    slot   smallint PRIMARY KEY CHECK (slot BETWEEN 0 AND 1023),
    shard  integer NOT NULL,
    epoch  bigint NOT NULL
);

-- Fails unless every slot still has the epoch that the writer was given. The shared row locks make a
-- raise of the epoch wait for this transaction, so a fenced write is never half seen.
CREATE FUNCTION assert_epochs(a_slots integer[], a_epochs bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    current integer;
BEGIN
    SELECT count(*) INTO current FROM (
        SELECT 1 FROM slots s
        JOIN unnest(a_slots, a_epochs) AS w (slot, epoch) ON s.slot = w.slot AND s.epoch = w.epoch
        ORDER BY s.slot FOR SHARE OF s
    ) held;
    IF current <> cardinality(a_slots) THEN
        RAISE EXCEPTION 'slot epoch is not current' USING ERRCODE = 'HB001';
    END IF;
END $$;

-- Events for whoever consumes them later -----------------------------------------------------------

CREATE TABLE outbox (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid NOT NULL UNIQUE,
    type         text NOT NULL,
    version      integer NOT NULL,
    aggregate    text NOT NULL,                      -- "<kind>:<id>"
    at           timestamptz NOT NULL DEFAULT now(),
    traceparent  text,
    payload      json NOT NULL
);

-- Appends a tick's messages of many rooms in one statement: checks the slots' epochs, advances each
-- room's last_offset by compare-and-set (no gap, no reuse), stores the messages and their cids, and
-- writes one outbox row per room ("these offsets were appended").
CREATE FUNCTION append_messages(
    a_slots integer[], a_epochs bigint[],
    a_rooms uuid[], a_before bigint[], a_after bigint[], a_event_ids uuid[],
    m_rooms uuid[], m_offsets bigint[], m_sent_at timestamptz[], m_ids uuid[],
    m_senders uuid[], m_cids text[], m_bodies text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    advanced integer;
BEGIN
    PERFORM assert_epochs(a_slots, a_epochs);
    WITH moved AS (
        UPDATE rooms r SET last_offset = w.after_offset
        FROM unnest(a_rooms, a_before, a_after) AS w (room, before_offset, after_offset)
        WHERE r.id = w.room AND r.last_offset = w.before_offset
        RETURNING 1
    ) SELECT count(*) INTO advanced FROM moved;
    IF advanced <> cardinality(a_rooms) THEN
        RAISE EXCEPTION 'a room moved on without its sequencer' USING ERRCODE = 'HB002';
    END IF;
    INSERT INTO messages (room_id, "offset", sent_at, id, sender_id, cid, body)
    SELECT room, o, t, i, s, c, b::json
    FROM unnest(m_rooms, m_offsets, m_sent_at, m_ids, m_senders, m_cids, m_bodies) AS m (room, o, t, i, s, c, b);
    INSERT INTO message_cids (room_id, sender_id, cid, "offset", id, sent_at)
    SELECT room, s, c, o, i, t
    FROM unnest(m_rooms, m_offsets, m_sent_at, m_ids, m_senders, m_cids) AS m (room, o, t, i, s, c)
    WHERE c IS NOT NULL;
    INSERT INTO outbox (id, type, version, aggregate, payload)
    SELECT e, 'room.appended', 1, 'room:' || room::text,
           json_build_object('from', before_offset + 1, 'to', after_offset)
    FROM unnest(a_event_ids, a_rooms, a_before, a_after) AS w (e, room, before_offset, after_offset);
END $$;
