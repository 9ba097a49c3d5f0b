"""What containerd answers beside CRI on its socket: downloads under way, stored manifests, events of images."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tidegate.cri import containerd_pb2 as messages
from tidegate.cri.containerd import LIST_STATUSES, NAMESPACE, READ, SUBSCRIBE
from tidegate.reference import Digest
from tidegate.testing.runtime_store import RuntimeStore

_MOST_WAITING = 1000


def services(store: RuntimeStore) -> tuple[grpc.GenericRpcHandler, ...]:
    """The services over one store, to be added to a server."""
    content, events = _Content(store), _Events(store)
    handlers = {
        LIST_STATUSES: grpc.unary_unary_rpc_method_handler(
            content.list_statuses,
            request_deserializer=messages.ListStatusesRequest.FromString,
            response_serializer=messages.ListStatusesResponse.SerializeToString,
        ),
        READ: grpc.unary_stream_rpc_method_handler(
            content.read,
            request_deserializer=messages.ReadContentRequest.FromString,
            response_serializer=messages.ReadContentResponse.SerializeToString,
        ),
        SUBSCRIBE: grpc.unary_stream_rpc_method_handler(
            events.subscribe,
            request_deserializer=messages.SubscribeRequest.FromString,
            response_serializer=messages.Envelope.SerializeToString,
        ),
    }
    by_service: dict[str, dict[str, Any]] = {}
    for path, handler in handlers.items():
        _, service, method = path.split("/")
        by_service.setdefault(service, {})[method] = handler
    return tuple(grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items())


class _Content:
    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    async def list_statuses(self, request: Any, context: Any) -> Any:  # noqa: ANN401 - generated, without types
        """Every download, those that wait for a slot too."""
        del request, context
        statuses = [
            messages.IngestStatus(ref=each.ref, offset=each.received, total=each.total)
            for each in self._store.ingests.values()
        ]
        return messages.ListStatusesResponse(statuses=statuses)

    async def read(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - generated, without types
        """Bytes of a manifest or config; layers are not kept here."""
        content = self._store.content.get(Digest(request.digest))
        if content is None or content.body is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"content {request.digest}: not found")
            return
        yield messages.ReadContentResponse(data=content.body)


class _Events:
    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    async def subscribe(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - generated, without types
        """Events of images, whatever the filters say."""
        del request, context
        waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_MOST_WAITING)

        def listen(kind: str, name: str) -> None:
            waiting.put_nowait((kind, name))

        self._store.listeners.append(listen)
        try:
            while True:
                kind, name = await waiting.get()
                payload = messages.Any(
                    type_url=f"containerd.services.images.v1.Image{kind.title()}",
                    value=messages.ImageEvent(name=name).SerializeToString(),
                )
                yield messages.Envelope(namespace=NAMESPACE, topic=f"/images/{kind}", event=payload)
        finally:
            self._store.listeners.remove(listen)
