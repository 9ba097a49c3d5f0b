"""Whether a file is another one than before."""

from pathlib import Path


def stamp_of(path: Path) -> object:
    """Equal for as long as the file is neither replaced nor written to; of one that cannot be seen, why."""
    try:
        seen = path.stat()
    except OSError as exc:
        return str(exc)
    return (seen.st_ino, seen.st_mtime_ns, seen.st_size)
