"""Pods that wait at the gate `tidegate.dev/replica` until their images are whole on this cluster's replica."""
