-- Rooms that are read (NLP): a cid with offset 0 is of a publication that was refused, of which nothing else is
-- stored. Rooms that never refused anything pay nothing for it.
CREATE INDEX message_cids_refused ON message_cids (room_id) WHERE "offset" = 0;
