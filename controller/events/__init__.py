"""What registries tell of their own accord, so that a check comes sooner. Nothing here is ever believed.

`python -m controller.events` receives (`app`, `arrivals`, `backlog`); the leader reads it (`reader`, `matching`).
"""
