"""People to people and people to places: features, models, matching rules. Pure: no Ray, web or database."""
