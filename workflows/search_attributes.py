"""Search attributes must exist on the server before a run may set them. Whoever comes first creates them."""

from __future__ import annotations

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from workflows import names


class AttributesMissing(Exception):
    """They are not there, and this process may not create them. Holds what to type instead."""


async def ensure(client: Client) -> tuple[str, ...]:
    """Create those that are missing. Doing it again changes nothing.

    Returns:
        Names of those that were created now.

    Raises:
        AttributesMissing: the server did not let us; the message holds the commands for someone who may.
    """
    missing = [key for key in names.SEARCH_ATTRIBUTES if key.name not in await _existing(client)]
    if not missing:
        return ()
    request = AddSearchAttributesRequest(namespace=client.namespace)
    for key in missing:
        request.search_attributes[key.name] = key._metadata_type  # noqa: SLF001 - placeholder
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # another process was quicker
            raise AttributesMissing(_what_to_type(client, [key.name for key in missing], error.message)) from error
    return tuple(key.name for key in missing)
