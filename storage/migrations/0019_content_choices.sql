-- Which interest was suggested to whom on which day, by which of several ways, with the odds of each (ML-8): what a
-- bandit learns from and what another one can be judged by. At most one a person and day; kept for 90 days.
CREATE TABLE content_choices (
    user_id       uuid NOT NULL REFERENCES users,
    day           date NOT NULL,
    at            timestamptz NOT NULL,
    arm           text NOT NULL,
    tag           text NOT NULL,
    propensities  json NOT NULL,                         -- of every arm that had something to show
    context       real[] NOT NULL,
    taken_at      timestamptz,                           -- when the person made it an interest of theirs
    PRIMARY KEY (user_id, day)
);
CREATE INDEX content_choices_at ON content_choices (at);
-- What that adds up to of each arm, counted anew from the table about once an hour.
CREATE TABLE content_tallies (
    arm    text PRIMARY KEY,
    shown  bigint NOT NULL,
    taken  bigint NOT NULL
);
