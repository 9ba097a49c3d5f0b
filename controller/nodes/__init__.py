"""Nodes that start: kept from work until their images are there, and not a moment past the deadline."""
