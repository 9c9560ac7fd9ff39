-- Who has said what a fence may do with them is counted, or not, as they said. Who has not is counted where no
-- crowd is asked for (HEREABOUTS_PRIVACY_K of 1, as in development; GEO-14): the engine's connections say so.
CREATE OR REPLACE FUNCTION is_counted(who uuid, fence uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(
            (SELECT g."grant" <> 'none' FROM fence_grants g WHERE g.user_id = who AND g.fence_id = fence),
            current_setting('hereabouts.counts_everybody', true) = 'on', false)
        OR EXISTS (SELECT 1 FROM fences f JOIN users o ON o.id = f.owner_id
                   WHERE f.id = fence AND (o.id = who OR 'app' = ANY (o.roles)))
$$;
