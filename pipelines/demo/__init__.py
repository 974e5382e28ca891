"""The embedded sample network: a loopback server with posts written for it."""
