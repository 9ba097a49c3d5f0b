"""Pods that wait at the gate `tidegate.dev/pre-pull` until their image is on enough nodes where they could run."""
