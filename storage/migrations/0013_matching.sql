-- What matching learns from, the models it makes of it, and what it recommends (MATCH, ML); what a room says about
-- reading its messages (NLP).

-- The order in which things were committed, as far as readers by offset need it: whoever reads up to the oldest
-- transaction that still runs misses nothing and sees nothing twice (ML-12). An offset is (xid, seq).
ALTER TABLE outbox ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX outbox_offset ON outbox (xid, seq);

-- Every like and pass there ever was: the log that features, training and audits are made of.
CREATE TABLE decisions (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    rater_id   uuid NOT NULL REFERENCES users,
    ratee_id   uuid NOT NULL REFERENCES users,
    likes      boolean NOT NULL,
    at         timestamptz NOT NULL,
    model      text,                       -- whose score the rater saw; NULL: none
    source     text,                       -- what had brought the two together; NULL: not known
    CHECK (rater_id <> ratee_id)
);
CREATE INDEX decisions_offset ON decisions (xid, seq);
CREATE INDEX decisions_rater ON decisions (rater_id, ratee_id);
CREATE INDEX decisions_ratee ON decisions (ratee_id);

-- The fold of that log for each person, kept in the transaction that appends to it (MATCH-4). Whoever writes holds
-- the advisory locks of both people first, so that a person's decisions count in the order of their offsets.
CREATE TABLE match_tallies (
    user_id       uuid PRIMARY KEY REFERENCES users,
    given         bigint NOT NULL DEFAULT 0,
    given_yes     bigint NOT NULL DEFAULT 0,
    received      bigint NOT NULL DEFAULT 0,
    received_yes  bigint NOT NULL DEFAULT 0,
    surprise      double precision NOT NULL DEFAULT 0
);

-- What a person is, wants and answers. Gender says who may be shown to whom and is what audits cut by; it is never
-- a feature (MATCH-16).
CREATE TABLE preferences (
    user_id     uuid PRIMARY KEY REFERENCES users,
    is_listed   boolean NOT NULL DEFAULT true,           -- false: recommended to nobody
    gender      text CHECK (gender IN ('woman', 'man', 'other')),
    seeks       text[] NOT NULL DEFAULT '{}',            -- genders; empty: any
    goals       text[] NOT NULL DEFAULT '{}',            -- empty: any
    age_from    smallint NOT NULL DEFAULT 18 CHECK (age_from >= 18),
    age_to      smallint NOT NULL DEFAULT 150 CHECK (age_to BETWEEN age_from AND 150),
    within_m    integer CHECK (within_m > 0),            -- NULL: any distance
    interests   text[] NOT NULL DEFAULT '{}',            -- tags, lower case
    answers     json NOT NULL DEFAULT '{}',              -- question → {"answer", "accepts", "weight"} (MATCH-11)
    values_21   real[] CHECK (cardinality(values_21) IN (10, 21)), -- Schwartz, as answered
    version     bigint NOT NULL DEFAULT 1,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Bytes by what they are: models and datasets, written once.
CREATE TABLE blobs (
    sha256      text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes       bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What was trained on, and who is in it. Erasing a person deletes the rows and marks what was made of them (ML-11).
CREATE TABLE datasets (
    sha256      text PRIMARY KEY,                        -- of its content; the blob of that name may be gone
    name        text NOT NULL,
    from_offset text NOT NULL,
    to_offset   text NOT NULL,
    row_count   bigint NOT NULL,
    spec        json NOT NULL,                           -- features, code version, seed
    created_at  timestamptz NOT NULL DEFAULT now(),
    erased_at   timestamptz                              -- somebody in it was erased
);
CREATE TABLE dataset_people (
    sha256   text NOT NULL REFERENCES datasets ON DELETE CASCADE,
    user_id  uuid NOT NULL,
    PRIMARY KEY (sha256, user_id)
);
CREATE INDEX dataset_people_user ON dataset_people (user_id);

-- Models. A version never changes; what serves is what an alias names (ML-5).
CREATE TABLE models (
    name            text NOT NULL,                       -- 'people', 'emotion', …
    version         text NOT NULL,                       -- '<name>-<number>', as stands on each score
    blob_sha256     text NOT NULL REFERENCES blobs,
    dataset_sha256  text REFERENCES datasets,
    lineage         json NOT NULL,                       -- parameters, seed, code, run, data
    metrics         json NOT NULL,
    card            json NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT now(),
    erased_at       timestamptz,                         -- somebody whom it was trained on was erased since
    PRIMARY KEY (name, version)
);
CREATE UNIQUE INDEX models_version ON models (version);
CREATE TABLE model_aliases (
    name     text NOT NULL,
    alias    text NOT NULL CHECK (alias IN ('champion', 'challenger', 'shadow')),
    version  text NOT NULL,
    PRIMARY KEY (name, alias),
    FOREIGN KEY (name, version) REFERENCES models
);
CREATE TABLE model_moves (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    alias        text NOT NULL,
    from_version text,
    to_version   text,
    why          text NOT NULL,                          -- 'gate', 'rollback', 'forced', …
    verdict      json,
    moved_by     text NOT NULL,
    at           timestamptz NOT NULL DEFAULT now()
);

-- Jobs and how far they are: what is done is not done again after a kill (ML-3).
CREATE TABLE job_runs (
    id          text PRIMARY KEY,
    kind        text NOT NULL,
    parameters  json NOT NULL,
    state       text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    progress    json NOT NULL DEFAULT '{}',
    result      json,
    started_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE job_steps (
    run_id       text NOT NULL REFERENCES job_runs ON DELETE CASCADE,
    step         text NOT NULL,
    blob_sha256  text REFERENCES blobs,
    result       json NOT NULL DEFAULT '{}',
    done_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, step)
);

-- What was recommended in batch (ML-9). `subject_id` is a person, a room or a place.
CREATE TABLE recommendations (
    user_id     uuid NOT NULL REFERENCES users,
    kind        text NOT NULL CHECK (kind IN ('people', 'pick', 'groups', 'places')),
    rank        smallint NOT NULL,
    subject_id  uuid NOT NULL,
    score       real NOT NULL,
    detail      json NOT NULL,                           -- forward, backward, source, why
    model       text NOT NULL,
    run_id      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, kind, rank)
);
CREATE INDEX recommendations_subject ON recommendations (subject_id);

-- Experiments (ML-7): who was assigned what when it first mattered.
CREATE TABLE experiments (
    name        text PRIMARY KEY,
    salt        text NOT NULL,
    unit        text NOT NULL CHECK (unit IN ('person', 'cell', 'community')),
    variants    json NOT NULL,                           -- variant → {"share", "alias"?, …}
    state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'ended')),
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);
CREATE TABLE experiment_exposures (
    experiment  text NOT NULL REFERENCES experiments ON DELETE CASCADE,
    user_id     uuid NOT NULL,
    unit        text NOT NULL,
    variant     text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (experiment, user_id)
);
CREATE INDEX experiment_exposures_user ON experiment_exposures (user_id);

-- Reading messages: NULL is no, which is the default (NLP-4). What a room keeps of it are aggregates (NLP-10).
ALTER TABLE rooms ADD COLUMN is_encrypted boolean NOT NULL DEFAULT false;
ALTER TABLE rooms ADD COLUMN reading json;
ALTER TABLE rooms ADD CONSTRAINT rooms_reading CHECK (reading IS NULL OR NOT is_encrypted);
CREATE TABLE room_dynamics (
    room_id      uuid PRIMARY KEY REFERENCES rooms ON DELETE CASCADE,
    last_offset  bigint NOT NULL,                        -- messages up to here are counted
    state        json NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
