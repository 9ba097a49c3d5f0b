"""How many files, and so connections, a process may have open."""

import contextlib
import resource


def allow_many() -> None:
    """Raise the soft limit to the hard one: a thousand connections are no fault, and 1,024 a common limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # where the system says no, the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
