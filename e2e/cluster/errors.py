class PrerequisiteMissing(Exception):  # noqa: N818 - the name callers read: what is missing, not that it is an error
    """Something the machine must have is not there; the message is one line that says what to install."""


class SourceChangedError(Exception):
    """The sources changed between being hashed and being built; what was built must not be kept under that hash."""


class ClusterError(Exception):
    """The cluster could not be built or started, or has stopped; the message says why."""
