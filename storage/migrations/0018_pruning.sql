-- Bytes of models and datasets that nothing needs any more are removed; what they were stays said (ML-5).
ALTER TABLE models DROP CONSTRAINT models_blob_sha256_fkey;
ALTER TABLE models ADD COLUMN pruned_at timestamptz;       -- its bytes are gone since: it can't serve any more
ALTER TABLE datasets ADD COLUMN pruned_at timestamptz;     -- its bytes, and who is in it, are gone since
