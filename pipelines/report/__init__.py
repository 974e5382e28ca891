"""The report: one self-contained HTML file of a sweep and a run."""
