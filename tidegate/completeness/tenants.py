"""A checker that asks in one tenant's name."""

from tidegate.completeness.checker import Checker
from tidegate.findings import ImageFinding
from tidegate.reference import Digest, ImageReference
from tidegate.registry.auth.tenants import Tenant


class TenantChecker:
    """The same memory and the same flights; only the credentials are the tenant's too. Made for one review."""

    def __init__(self, checker: Checker, tenant: Tenant) -> None:
        self._checker = checker
        self._tenant = tenant

    def recall(self, image: str, reference: ImageReference) -> ImageFinding | None:
        """From memory alone, where this tenant may be told."""
        return self._checker.recall(image, reference, tenant=self._tenant)

    async def check(self, image: str, reference: ImageReference, *, deadline: float) -> ImageFinding:
        """By asking."""
        return await self._checker.check(image, reference, deadline=deadline, tenant=self._tenant)

    async def resolve(self, reference: ImageReference, *, deadline: float) -> Digest:
        """What a tag stands for at home. Raises RegistryError."""
        return await self._checker.resolve(reference, deadline=deadline, tenant=self._tenant)
