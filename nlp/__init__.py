"""What messages say and how people talk with each other: scores, heads, quality, group dynamics.

Pure: no Ray, web or database, but for `nlp.jobs`.
"""
