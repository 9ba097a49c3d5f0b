"""What the programs have in common at their edge: logs, root tasks, probes, and where the API server is."""
