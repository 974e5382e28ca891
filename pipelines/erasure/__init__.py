"""Erasing and redacting: who is meant, what goes and what stays of each row, and the ledger that keeps it away."""
