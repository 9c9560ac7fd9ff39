"""Figures: one file a claim. Each prints its machine, versions and spread, and writes results/<name>.json."""
