-- A fence's owner hears of nobody who has not said that they may, not even as one more in a count: whoever
-- fences a few metres with an audience of one person, or of one who is alone there, knows where they are. Apps
-- are trusted with it. Whether a visit counts is settled when it begins, so that counts agree.
ALTER TABLE fence_grants
    DROP CONSTRAINT fence_grants_grant_check,
    ADD CONSTRAINT fence_grants_grant_check CHECK ("grant" IN ('exact', 'count', 'none'));

ALTER TABLE fence_visits ADD COLUMN counted boolean NOT NULL DEFAULT true;

CREATE FUNCTION is_counted(who uuid, fence uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM fence_grants g
                   WHERE g.user_id = who AND g.fence_id = fence AND g."grant" <> 'none')
        OR EXISTS (SELECT 1 FROM fences f JOIN users o ON o.id = f.owner_id
                   WHERE f.id = fence AND (o.id = who OR 'app' = ANY (o.roles)))
$$;

-- Applies crossings, each once: the visit, the person's own event, the fence's event, the membership of the
-- room that the fence is bound to, the reminder of the visit and the outbox row, in the caller's transaction
-- (CHAT-19). Arrays hold one crossing an index, a person's in their order. Returns (number from 1, offset in
-- the person's `fences` stream) of those that were not applied before. `c_memberships` is join, leave, pass
-- (another visit goes on in the same room) or empty; where that is not what the table admits by now, nothing
-- is written: HB002. `c_due` is when the visit's reminder is due.
CREATE OR REPLACE FUNCTION record_crossings(
    a_slots integer[], a_epochs bigint[],
    c_users uuid[], c_slots integer[], c_fences uuid[], c_visits bigint[], c_events text[],
    c_at timestamptz[], c_bodies text[], c_ids uuid[], c_confidences double precision[],
    c_due timestamptz[], c_rooms uuid[], c_memberships text[]
) RETURNS TABLE (number integer, assigned bigint) LANGUAGE plpgsql AS $$
DECLARE
    applied integer[];
    more integer[];
    wanted integer;
    changed integer;
BEGIN
    PERFORM assert_epochs(a_slots, a_epochs);

    WITH done AS (
        UPDATE fence_visits v SET dwelled_at = g.at
        FROM unnest(c_users, c_fences, c_visits, c_events, c_at) WITH ORDINALITY AS g (u, f, visit, e, at, n)
        WHERE g.e = 'dwell' AND v.user_id = g.u AND v.fence_id = g.f AND v.visit = g.visit
        AND v.dwelled_at IS NULL AND v.exited_at IS NULL
        RETURNING g.n
    ) SELECT coalesce(array_agg(n), '{}') INTO applied FROM done;

    WITH done AS (
        UPDATE fence_visits v SET exited_at = g.at
        FROM unnest(c_users, c_fences, c_visits, c_events, c_at) WITH ORDINALITY AS g (u, f, visit, e, at, n)
        WHERE g.e = 'exit' AND v.user_id = g.u AND v.fence_id = g.f AND v.visit = g.visit
        AND v.exited_at IS NULL
        RETURNING g.n
    ) SELECT coalesce(array_agg(n), '{}') INTO more FROM done;
    applied := applied || more;

    -- A visit that begins and ends in one batch is stored as ended.
    WITH given AS (
        SELECT * FROM unnest(c_users, c_fences, c_visits, c_events, c_at, c_confidences, c_rooms)
            WITH ORDINALITY AS g (u, f, visit, e, at, sure, room, n)
    ), fresh AS (
        INSERT INTO fence_visits
            (user_id, fence_id, visit, entered_at, confidence, room_id, dwelled_at, exited_at, counted)
        SELECT b.u, b.f, b.visit, b.at, b.sure, b.room, min(d.at), min(x.at), is_counted(b.u, b.f)
        FROM given b
        LEFT JOIN given d ON d.e = 'dwell' AND d.u = b.u AND d.f = b.f AND d.visit = b.visit
        LEFT JOIN given x ON x.e = 'exit' AND x.u = b.u AND x.f = b.f AND x.visit = b.visit
        WHERE b.e IN ('enter', 'inside')
        GROUP BY b.u, b.f, b.visit, b.at, b.sure, b.room ORDER BY b.u, b.f, b.visit
        ON CONFLICT DO NOTHING
        RETURNING user_id, fence_id, visit
    )
    SELECT coalesce(array_agg(g.n), '{}') INTO more
    FROM fresh JOIN given g ON g.u = fresh.user_id AND g.f = fresh.fence_id AND g.visit = fresh.visit;
    applied := applied || more;

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
        FROM unnest(c_fences, c_users, c_visits, c_events, c_at, c_bodies, c_ids)
            WITH ORDINALITY AS g (f, u, visit, e, at, body, id, n)
        JOIN fence_visits v ON v.user_id = g.u AND v.fence_id = g.f AND v.visit = g.visit AND v.counted
        WHERE g.n = ANY (applied)
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

    -- The newest event of a visit says what becomes of its reminder.
    WITH newest AS (
        SELECT DISTINCT ON (g.u, g.f) g.* FROM unnest(c_users, c_slots, c_fences, c_events, c_due)
            WITH ORDINALITY AS g (u, slot, f, e, due, n)
        WHERE g.n = ANY (applied) ORDER BY g.u, g.f, g.n DESC
    ), ended AS (
        DELETE FROM reminders r USING newest g
        WHERE r.kind = 'user' AND r.key = g.u::text AND r.name = 'visit:' || g.f::text AND g.e = 'exit'
    )
    INSERT INTO reminders (kind, key, name, slot, due_at, data)
    SELECT 'user', g.u::text, 'visit:' || g.f::text, g.slot, g.due, 'null'
    FROM newest g WHERE g.e <> 'exit' AND g.due IS NOT NULL
    ON CONFLICT (kind, key, name) DO UPDATE SET due_at = excluded.due_at;

    INSERT INTO outbox (id, type, version, aggregate, payload)
    SELECT g.id, 'fence.' || g.e, 1, 'fence:' || g.f::text,
           json_build_object('user', g.u, 'visit', g.visit,
                             'at_ms', (extract(epoch FROM g.at) * 1000)::bigint)
    FROM unnest(c_ids, c_events, c_fences, c_users, c_visits, c_at)
        WITH ORDINALITY AS g (id, e, f, u, visit, at, n)
    WHERE g.n = ANY (applied) ORDER BY g.n;
END $$;
