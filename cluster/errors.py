"""The one error of this package that a person can mend."""


class ClusterError(Exception):
    """The cluster cannot be opened or lost its workers: one line that says what to do."""
