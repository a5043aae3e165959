"""Search attributes must exist on the server before a run may set them. Whoever comes first creates them."""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from workflows import names


class AttributesMissing(Exception):
    """They are not there, and this process could not create them. Holds what to type instead."""


async def ensure(client: Client) -> tuple[str, ...]:
    """Create those that are missing. Doing it again changes nothing.

    Returns:
        Names of those that were created now.

    Raises:
        AttributesMissing: the server did not let us; the message holds the commands for someone who may.
    """
    try:
        missing = await _missing(client)
        if missing:
            await _create(client, missing)
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:  # another process was quicker
            return ()
        wanted = [key.name for key in names.SEARCH_ATTRIBUTES]
        raise AttributesMissing(_what_to_type(client.namespace, wanted, error.message)) from error
    return tuple(missing)


async def _missing(client: Client) -> list[str]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    answer = await client.operator_service.list_search_attributes(request)
    existing = answer.custom_attributes
    for key in names.SEARCH_ATTRIBUTES:
        if key.name in existing and existing[key.name] != int(key.indexed_value_type):
            found = IndexedValueType.Name(existing[key.name])
            raise AttributesMissing(f"The search attribute {key.name} exists with another type ({found}, not Keyword).")
    return [key.name for key in names.SEARCH_ATTRIBUTES if key.name not in existing]


async def _create(client: Client, missing: Iterable[str]) -> None:
    request = AddSearchAttributesRequest(namespace=client.namespace)
    for name in missing:
        request.search_attributes[name] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    await client.operator_service.add_search_attributes(request)


def _what_to_type(namespace: str, missing: Iterable[str], reason: str) -> str:
    lines = [f"The search attributes of the runs could not be created ({reason}). Someone who may should type:"]
    lines += [
        f"  temporal operator search-attribute create --namespace {namespace} --name {name} --type Keyword"
        for name in missing
    ]
    return "\n".join(lines)
