"""Doubles of the parts that tidegate speaks to, for its tests, its demo, its benchmarks and its users' own drills.

Each one passes the conformance suite that also runs on the real part; none needs root or a container engine.

    images      images as bytes, of any shape, without an engine
    registry    an OCI registry that can lag, lose, lie, throttle, redirect, stall and ask for tokens
    apiserver   a small Kubernetes API server
    runtime     a container runtime that answers CRI and really downloads
    ports       ports that are free, for programs under test
"""
