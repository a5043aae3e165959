"""How values travel: pydantic's JSON. A signal that is no JSON at all is kept raw instead of being dropped unseen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter, pydantic_data_converter


class TolerantPayloadConverter(PydanticPayloadConverter):
    """Signals of this product take any number of values without a type, and judge them themselves.

    Where no type is asked for, what can't be decoded stays a `RawValue`; with a type it is an error as ever.
    """

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """Decode; see the class."""
        if type_hints is not None:
            return super().from_payloads(payloads, type_hints)
        return [self._decoded(payload) for payload in payloads]

    def _decoded(self, payload: Payload) -> object:
        try:
            return super().from_payloads([payload])[0]
        except (KeyError, ValueError, RuntimeError, UnicodeDecodeError):
            return RawValue(payload)


DATA_CONVERTER = dataclasses.replace(pydantic_data_converter, payload_converter_class=TolerantPayloadConverter)
"""Used by every client and worker of the product."""
