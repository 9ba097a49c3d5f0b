"""Where names lead, freshly: global endpoints of registries move between regions by DNS."""

from tidegate.registry.dns.lookup import DnsError, Found, Lookup
from tidegate.registry.dns.names import Names

__all__ = ["DnsError", "Found", "Lookup", "Names"]
