"""What the embedded model adds to its base encoder: graph, heads, model card."""
