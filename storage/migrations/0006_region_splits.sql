-- compat: 5
-- Regions (H3 res 5) that were too much for one actor: their res 6 children stand in for them (ACT-10).
CREATE TABLE region_splits (
    region    text PRIMARY KEY,
    split_at  timestamptz NOT NULL DEFAULT now()
);
