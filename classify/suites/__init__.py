"""The fairness suites, one file a language: harmless posts of many kinds, and the harmful posts that match them."""
