"""The error that the command line shows as one message, without a traceback."""


class UsageError(ValueError):
    """A request that cannot be run: the message names the argument and the remedy."""


class DataError(RuntimeError):
    """A data set that cannot be had: the message names the ways to get it."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read: the message names the remedy."""
