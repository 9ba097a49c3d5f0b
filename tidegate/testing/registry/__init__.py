"""An OCI registry for tests, demo and drills: right by default, and wrong in every way that the field knows.

double        RegistryDouble: what to use
storage       what is where, per repository
replication   one registry follows another, late
faults        everything that can be wrong, as one value
api, uploads  the distribution API: readers, writers
guards        basic and bearer challenges
tokens        TokenServer
limits        nginx's request limit and a shared bandwidth, over any clock
records       what was asked
wire, replies sockets, and bodies
"""

from tidegate.testing.registry.double import RegistryDouble
from tidegate.testing.registry.faults import NO_FAULTS, Answer, Cut, Faults, Redirect, Stall, Throttle
from tidegate.testing.registry.guards import BasicGuard, BearerGuard
from tidegate.testing.registry.records import Authorization, Kind, Record, Request
from tidegate.testing.registry.replication import Lag, Replication
from tidegate.testing.registry.tokens import Account, Claims, TokenRules, TokenServer

__all__ = [
    "NO_FAULTS", "Account", "Answer", "Authorization", "BasicGuard", "BearerGuard", "Claims", "Cut", "Faults", "Kind",
    "Lag", "Record", "Redirect", "RegistryDouble", "Replication", "Request", "Stall", "Throttle", "TokenRules",
    "TokenServer",
]  # fmt: skip
