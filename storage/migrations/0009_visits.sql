-- Visits of fences, whole: dwells, the events that a fence's owner reads, who owes their membership of a room
-- to a fence, and reminders for what time alone decides. Crossings are stored many at once.

ALTER TABLE fences
    ADD COLUMN gap_s integer NOT NULL DEFAULT 900 CHECK (gap_s > 0),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN removed_why text;                     -- the `reason` of the exits that the removal causes

ALTER TABLE fence_visits
    ADD COLUMN dwelled_at timestamptz,
    ADD COLUMN confidence double precision NOT NULL DEFAULT 1,
    ADD COLUMN room_id uuid,                         -- the room that this visit may join
    ADD COLUMN counted boolean NOT NULL DEFAULT true;  -- whether the fence's owner hears of it, settled when it begins

ALTER TABLE fence_grants
    DROP CONSTRAINT fence_grants_grant_check,
    ADD CONSTRAINT fence_grants_grant_check CHECK ("grant" IN ('exact', 'count', 'none'));

-- NULL: a member by their own or somebody's hand, whom no exit puts out.
ALTER TABLE room_members ADD COLUMN by_fence uuid;

-- What happened at a fence, for its owner. Offsets are allocated by the database, in the transaction that
-- stores the crossing; `inside` is the number of people inside after it.
CREATE TABLE fence_streams (
    fence_id     uuid PRIMARY KEY,
    epoch        text NOT NULL,
    last_offset  bigint NOT NULL DEFAULT 0,
    inside       bigint NOT NULL DEFAULT 0
);
INSERT INTO fence_streams (fence_id, epoch, inside)
SELECT fence_id, replace(gen_random_uuid()::text, '-', ''), count(*) FILTER (WHERE exited_at IS NULL)
FROM fence_visits GROUP BY fence_id;

CREATE TABLE fence_events (
    fence_id  uuid NOT NULL,
    "offset"  bigint NOT NULL,
    id        uuid NOT NULL,
    at        timestamptz NOT NULL,
    user_id   uuid,                                  -- NULL: erased
    event     text NOT NULL,
    inside    bigint NOT NULL,
    body      json NOT NULL,
    PRIMARY KEY (fence_id, "offset")
);
CREATE INDEX fence_events_user ON fence_events (user_id);

DROP FUNCTION record_crossing;

-- Whether a fence's owner hears of a visit at all: whoever fences a few metres with an audience of one person,
-- or of one who is alone there, knows from a count of one where they are. Who has said what the fence may do
-- with them is counted, or not, as they said. Who has not is counted where no crowd is asked for
-- (HEREABOUTS_PRIVACY_K of 1, as in development; GEO-14): the engine's connections say so. Apps are trusted.
CREATE FUNCTION is_counted(who uuid, fence uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(
            (SELECT g."grant" <> 'none' FROM fence_grants g WHERE g.user_id = who AND g.fence_id = fence),
            current_setting('hereabouts.counts_everybody', true) = 'on', false)
        OR EXISTS (SELECT 1 FROM fences f JOIN users o ON o.id = f.owner_id
                   WHERE f.id = fence AND (o.id = who OR 'app' = ANY (o.roles)))
$$;

-- Visits and their reminders are applied one by one, by their keys. As one statement of many the planner joined
-- a batch with all rows that stand, where it had no statistics yet: 2,000 dwells took 5 s.
--
-- Applies each in its order. `applied` are the indexes (from 1) of those that were not applied before, `counted`
-- those of them of which the fence's log may tell. The condition on exited_at is not in the words of the
-- index on who is inside: that one would be looked through for everybody in a full fence.
CREATE FUNCTION apply_visits(
    c_users uuid[], c_slots integer[], c_fences uuid[], c_visits bigint[], c_events text[], c_at timestamptz[],
    c_confidences double precision[], c_due timestamptz[], c_rooms uuid[],
    OUT applied integer[], OUT counted integer[]
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    is_one boolean;
BEGIN
    applied := '{}';
    counted := '{}';
    FOR i IN 1 .. coalesce(cardinality(c_users), 0) LOOP
        IF c_events[i] = 'dwell' THEN
            UPDATE fence_visits v SET dwelled_at = c_at[i]
            WHERE user_id = c_users[i] AND fence_id = c_fences[i] AND visit = c_visits[i]
            AND dwelled_at IS NULL AND coalesce(exited_at, 'infinity') = 'infinity' RETURNING v.counted INTO is_one;
        ELSIF c_events[i] = 'exit' THEN
            UPDATE fence_visits v SET exited_at = c_at[i]
            WHERE user_id = c_users[i] AND fence_id = c_fences[i] AND visit = c_visits[i]
            AND coalesce(exited_at, 'infinity') = 'infinity' RETURNING v.counted INTO is_one;
        ELSE
            INSERT INTO fence_visits AS v (user_id, fence_id, visit, entered_at, confidence, room_id, counted)
            VALUES (c_users[i], c_fences[i], c_visits[i], c_at[i], c_confidences[i], c_rooms[i],
                    is_counted(c_users[i], c_fences[i]))
            ON CONFLICT DO NOTHING RETURNING v.counted INTO is_one;
        END IF;
        CONTINUE WHEN NOT FOUND;
        applied := applied || i;
        IF is_one THEN
            counted := counted || i;
        END IF;
        IF c_events[i] = 'exit' THEN
            DELETE FROM reminders
            WHERE kind = 'user' AND key = c_users[i]::text AND name = 'visit:' || c_fences[i]::text;
        ELSIF c_due[i] IS NOT NULL THEN
            INSERT INTO reminders (kind, key, name, slot, due_at, data)
            VALUES ('user', c_users[i]::text, 'visit:' || c_fences[i]::text, c_slots[i], c_due[i], 'null')
            ON CONFLICT (kind, key, name) DO UPDATE SET due_at = excluded.due_at;
        END IF;
    END LOOP;
END $$;

-- Applies crossings, each once: the visit, the person's own event, the fence's event, the membership of the
-- room that the fence is bound to, the reminder of the visit and the outbox row, in the caller's transaction
-- (CHAT-19). Arrays hold one crossing an index, a person's in their order. Returns (number from 1, offset in
-- the person's `fences` stream) of those that were not applied before. `c_memberships` is join, leave, pass
-- (another visit goes on in the same room) or empty; where that is not what the table admits by now, nothing
-- is written: HB002. `c_due` is when the visit's reminder is due.
-- Planned anew for each batch: a plan for any takes it for ten rows, and compares each of 2,000 with each.
CREATE FUNCTION record_crossings(
    a_slots integer[], a_epochs bigint[],
    c_users uuid[], c_slots integer[], c_fences uuid[], c_visits bigint[], c_events text[],
    c_at timestamptz[], c_bodies text[], c_ids uuid[], c_confidences double precision[],
    c_due timestamptz[], c_rooms uuid[], c_memberships text[]
) RETURNS TABLE (number integer, assigned bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    applied integer[];
    counted integer[];
    wanted integer;
    changed integer;
BEGIN
    PERFORM assert_epochs(a_slots, a_epochs);

    SELECT a.applied, a.counted INTO applied, counted FROM apply_visits(
        c_users, c_slots, c_fences, c_visits, c_events, c_at, c_confidences, c_due, c_rooms) AS a;

    IF EXISTS (
        SELECT 1 FROM unnest(c_memberships) WITH ORDINALITY AS g (membership, n)
        WHERE g.membership <> '' AND g.n <> ALL (applied)
    ) THEN
        RAISE EXCEPTION 'a crossing was applied by somebody else' USING ERRCODE = 'HB002';
    END IF;
    IF cardinality(applied) = 0 THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH done AS (
        SELECT g.*, row_number() OVER (PARTITION BY g.u ORDER BY g.n) AS k,
               count(*) OVER (PARTITION BY g.u) AS total
        FROM unnest(c_users, c_at, c_bodies, c_ids) WITH ORDINALITY AS g (u, at, body, id, n)
        WHERE g.n = ANY (applied)
    ), moved AS (
        INSERT INTO user_streams AS s (user_id, stream, epoch, last_offset)
        SELECT d.u, 'fences', replace(gen_random_uuid()::text, '-', ''), count(*)
        FROM done d GROUP BY d.u ORDER BY d.u
        ON CONFLICT (user_id, stream) DO UPDATE SET last_offset = s.last_offset + excluded.last_offset
        RETURNING s.user_id, s.last_offset
    ), stored AS (
        INSERT INTO user_events (user_id, stream, "offset", id, at, body)
        SELECT d.u, 'fences', m.last_offset - d.total + d.k, d.id, d.at, d.body::json
        FROM done d JOIN moved m ON m.user_id = d.u
    )
    SELECT d.n::integer, m.last_offset - d.total + d.k FROM done d JOIN moved m ON m.user_id = d.u;

    WITH given AS (
        SELECT g.*, CASE g.e WHEN 'exit' THEN -1 WHEN 'dwell' THEN 0 ELSE 1 END AS change
        FROM unnest(c_fences, c_users, c_events, c_at, c_bodies, c_ids)
            WITH ORDINALITY AS g (f, u, e, at, body, id, n)
        WHERE g.n = ANY (counted)
    ), done AS (
        SELECT g.*, row_number() OVER (PARTITION BY g.f ORDER BY g.n) AS k,
               count(*) OVER (PARTITION BY g.f) AS total,
               sum(g.change) OVER (PARTITION BY g.f ORDER BY g.n) AS so_far,
               sum(g.change) OVER (PARTITION BY g.f) AS whole
        FROM given g
    ), moved AS (
        INSERT INTO fence_streams AS s (fence_id, epoch, last_offset, inside)
        SELECT d.f, replace(gen_random_uuid()::text, '-', ''), count(*), sum(d.change)
        FROM done d GROUP BY d.f ORDER BY d.f
        ON CONFLICT (fence_id) DO UPDATE
        SET last_offset = s.last_offset + excluded.last_offset, inside = s.inside + excluded.inside
        RETURNING s.fence_id, s.last_offset, s.inside
    )
    INSERT INTO fence_events (fence_id, "offset", id, at, user_id, event, inside, body)
    SELECT d.f, m.last_offset - d.total + d.k, d.id, d.at, d.u, d.e, m.inside - d.whole + d.so_far, d.body::json
    FROM done d JOIN moved m ON m.fence_id = d.f;

    SELECT count(*) INTO wanted FROM unnest(c_memberships) AS g (membership) WHERE g.membership <> '';
    IF wanted > 0 THEN
        WITH given AS (
            SELECT * FROM unnest(c_memberships, c_rooms, c_users, c_fences, c_at)
                AS g (membership, room, u, f, at)
            WHERE g.membership <> ''
        ), joined AS (
            INSERT INTO room_members AS m (room_id, user_id, joined_at, by_fence)
            SELECT g.room, g.u, g.at, g.f FROM given g WHERE g.membership = 'join'
            ON CONFLICT (room_id, user_id) DO UPDATE
            SET state = 'member', role = 'member', joined_at = excluded.joined_at, by_fence = excluded.by_fence
            WHERE m.state IN ('left', 'invited', 'requested')
            RETURNING 1
        ), gone AS (
            UPDATE room_members m SET state = 'left', by_fence = NULL FROM given g
            WHERE g.membership = 'leave' AND m.room_id = g.room AND m.user_id = g.u
            AND m.state = 'member' AND m.role = 'member' AND m.by_fence = g.f
            RETURNING 1
        ), passed AS (
            UPDATE room_members m SET by_fence = v.fence_id FROM given g JOIN fence_visits v
                ON v.user_id = g.u AND v.room_id = g.room AND v.fence_id <> g.f AND v.exited_at IS NULL
            WHERE g.membership = 'pass' AND m.room_id = g.room AND m.user_id = g.u
            AND m.state = 'member' AND m.by_fence = g.f
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM joined) + (SELECT count(*) FROM gone) + (SELECT count(*) FROM passed)
        INTO changed;
        IF changed <> wanted THEN
            RAISE EXCEPTION 'a membership changed meanwhile' USING ERRCODE = 'HB002';
        END IF;
    END IF;

    INSERT INTO outbox (id, type, version, aggregate, payload)
    SELECT g.id, 'fence.' || g.e, 1, 'fence:' || g.f::text,
           json_build_object('user', g.u, 'visit', g.visit,
                             'at_ms', (extract(epoch FROM g.at) * 1000)::bigint)
    FROM unnest(c_ids, c_events, c_fences, c_users, c_visits, c_at)
        WITH ORDINALITY AS g (id, e, f, u, visit, at, n)
    WHERE g.n = ANY (applied) ORDER BY g.n;
END $$;
