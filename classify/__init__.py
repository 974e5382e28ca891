"""Texts to scores: the codebook, models, engines, batching and training. Knows no platform and no archive."""
