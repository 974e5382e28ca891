"""One module per platform: pure parsers from a payload to posts, no I/O."""
