"""What capture tools write, to posts: a module a tool, pure. `pipelines.imports` knows how their files are read."""
