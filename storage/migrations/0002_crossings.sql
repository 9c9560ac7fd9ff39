-- Applies one crossing of a fence, once: the visit, the person's own event, the membership of the room that
-- the fence is bound to, and the outbox row, in the caller's transaction (CHAT-19). Returns the event's
-- offset in the person's `fences` stream, or NULL if this crossing was applied before.
CREATE FUNCTION record_crossing(
    a_slots integer[], a_epochs bigint[],
    a_user uuid, a_fence uuid, a_visit bigint, a_event text, a_at timestamptz, a_body json, a_event_id uuid,
    a_room uuid, a_membership text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    assigned bigint;
BEGIN
    PERFORM assert_epochs(a_slots, a_epochs);
    IF a_event = 'exit' THEN
        UPDATE fence_visits SET exited_at = a_at
        WHERE user_id = a_user AND fence_id = a_fence AND visit = a_visit AND exited_at IS NULL;
    ELSE
        INSERT INTO fence_visits (user_id, fence_id, visit, entered_at)
        VALUES (a_user, a_fence, a_visit, a_at) ON CONFLICT DO NOTHING;
    END IF;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    assigned := append_user_event(a_user, 'fences', a_event_id, a_at, a_body);
    IF a_membership = 'join' THEN
        INSERT INTO room_members AS m (room_id, user_id) VALUES (a_room, a_user)
        ON CONFLICT (room_id, user_id) DO UPDATE SET state = 'member', joined_at = a_at
        WHERE m.state IN ('left', 'invited', 'requested');
    ELSIF a_membership = 'leave' THEN
        UPDATE room_members SET state = 'left'
        WHERE room_id = a_room AND user_id = a_user AND state = 'member' AND role = 'member';
    END IF;
    INSERT INTO outbox (id, type, version, aggregate, payload)
    VALUES (a_event_id, 'fence.' || a_event, 1, 'fence:' || a_fence::text,
            json_build_object('user', a_user, 'visit', a_visit, 'at_ms', (extract(epoch FROM a_at) * 1000)::bigint));
    RETURN assigned;
END $$;
