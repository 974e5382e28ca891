"""The one error of this package that a person can mend."""


class ModelError(Exception):
    """A model cannot be prepared or loaded: what is wrong, where, and what to do, in one line."""
