"""Tidegate: nothing enters the cluster before its image has come in, and nothing floods the registry."""

__version__ = "0.1.0"
