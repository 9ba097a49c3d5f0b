"""What `/readyz?verbose` says: checks, each with `ok`, `ok (…)`, or what is wrong."""

from collections.abc import Mapping


def verbose(notes: Mapping[str, str]) -> str:
    """A line for each check, as Kubernetes' own components write them."""
    return "".join(f"[{'+' if _is_well(words) else '-'}]{check} {words}\n" for check, words in notes.items())


def _is_well(words: str) -> bool:
    return words == "ok" or words.startswith("ok (")
