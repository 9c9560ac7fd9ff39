-- Ghost mode (GEO-22): until then others see nothing of where a person is, or go on seeing the last place.
ALTER TABLE users
    ADD COLUMN ghost_mode  text CHECK (ghost_mode IN ('hidden', 'frozen')),
    ADD COLUMN ghost_since timestamptz,
    ADD COLUMN ghost_until timestamptz,
    ADD CHECK ((ghost_mode IS NULL) = (ghost_until IS NULL) AND (ghost_mode IS NULL) = (ghost_since IS NULL));
