"""Token services of clouds on loopback, in the wire formats that they document, and a way for clients to get there."""

from tidegate.testing.clouds.acr import AcrTokens
from tidegate.testing.clouds.aws import AwsDouble
from tidegate.testing.clouds.entra import EntraDouble
from tidegate.testing.clouds.google import GoogleDouble
from tidegate.testing.clouds.service import Loopback, TokenService, Took

__all__ = ["AcrTokens", "AwsDouble", "EntraDouble", "GoogleDouble", "Loopback", "TokenService", "Took"]
