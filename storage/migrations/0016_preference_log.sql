-- What people said of themselves, as it stood at each moment: training sees a decision with the profiles that it was
-- made on, not with what became of them afterwards (ML-2). Written by the database, so that nobody can forget it;
-- gone with the row that it is of (ML-11).
CREATE TABLE preference_log (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    user_id    uuid NOT NULL REFERENCES preferences ON DELETE CASCADE,
    gender     text,
    goals      text[] NOT NULL,
    interests  text[] NOT NULL,
    answers    json NOT NULL,
    values_21  real[]
);
CREATE INDEX preference_log_user ON preference_log (user_id);
CREATE INDEX preference_log_offset ON preference_log (xid, seq);

CREATE FUNCTION log_preferences() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO preference_log (user_id, gender, goals, interests, answers, values_21)
    VALUES (NEW.user_id, NEW.gender, NEW.goals, NEW.interests, NEW.answers, NEW.values_21);
    RETURN NULL;
END $$;
CREATE TRIGGER preferences_logged AFTER INSERT OR UPDATE ON preferences FOR EACH ROW EXECUTE FUNCTION log_preferences();

-- What is known today of those who spoke before this migration.
INSERT INTO preference_log (user_id, gender, goals, interests, answers, values_21)
SELECT user_id, gender, goals, interests, answers, values_21 FROM preferences;
