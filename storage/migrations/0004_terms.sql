-- compat: 3
-- One Directory at a time is in office: each takes the next term, and a change is made only in one's own
-- term (ACT-3). Where the one in office is dialled stands beside it, for processes on other nodes.
ALTER TABLE directory ADD COLUMN term bigint NOT NULL DEFAULT 0;
ALTER TABLE directory ADD COLUMN address text NOT NULL DEFAULT '';
