"""The configuration file: `load` reads one, `ConfigError` says what is wrong with it, where, and what to do."""

from tidegate.config.errors import ConfigError
from tidegate.config.load import load, parse
from tidegate.config.model import Config

__all__ = ["Config", "ConfigError", "load", "parse"]
