"""How every command ends, and how it prints."""

from enum import IntEnum, StrEnum


class Exit(IntEnum):
    """Exit codes of all commands."""

    WELL = 0
    NO = 1
    """The answer is no."""
    WRONG_CALL = 2
    NOT_ASKED = 3
    """A registry could not be asked."""


class Output(StrEnum):
    """What a command prints: for people, or one JSON document on stdout and nothing else there."""

    TEXT = "text"
    JSON = "json"
