"""The jobs, the archive and the command line: the roof over crawlers, classify and cluster."""
