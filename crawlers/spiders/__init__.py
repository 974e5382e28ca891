"""One module per platform: paging only; whole pages go to the sink."""
