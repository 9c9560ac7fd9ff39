-- What a refresh token's grace and a private pass have to remember.

-- When the refresh token was last replaced: within a short grace the same device gets the same successor.
ALTER TABLE sessions ADD COLUMN rotated_at timestamptz;

-- Whose request stands. Beside acting_id, so that somebody whose request was passed on still sees it as
-- sent (a pass is private), and a decliner who asks after all matches at once.
ALTER TABLE connections ADD COLUMN requester_id uuid;

-- Lists walk these in order of id.
CREATE INDEX fences_owner ON fences (owner_id) WHERE removed_at IS NULL;
