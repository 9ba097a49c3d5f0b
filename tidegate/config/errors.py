"""What is wrong with a configuration file, in words for the person who wrote it."""


class ConfigError(ValueError):
    """The file cannot be used; the text names each wrong key by its path, one a line."""
