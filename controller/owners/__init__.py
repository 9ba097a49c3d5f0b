"""Owners of Pods: whom to tell that Pods wait, and whom to wake when what they were refused for has come in."""
