"""Engines run one prepared model over batches of token ids."""
