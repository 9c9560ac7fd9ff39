-- Whom an experiment takes together (ML-7): people who influence each other get one variant. Made when it begins;
-- who comes later is a unit alone. `unit` is an opaque number, so that no row tells where somebody is.
CREATE TABLE experiment_units (
    experiment  text NOT NULL REFERENCES experiments ON DELETE CASCADE,
    user_id     uuid NOT NULL,
    unit        text NOT NULL,
    PRIMARY KEY (experiment, user_id)
);
CREATE INDEX experiment_units_user ON experiment_units (user_id);
