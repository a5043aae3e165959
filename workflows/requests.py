"""The input of a run, understood or refused at once with a readable message.

A run that can't read its input would otherwise be tried for ever, or, if such errors failed it, would also die in the
middle of an outage when a worker of another version answers in a form it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from inventory.models import Inventory
from workflows.approvals import why_it_would_never_open
from workflows.messages import MaintenanceRequest, Message, RunRequest

MAX_PROBLEMS = 12
"""Named in the message: enough to see what kind of input it was."""

M = TypeVar("M", bound=Message)


def bad_request(reason: str) -> ApplicationError:
    """Fails the run at once. Nothing was touched then."""
    return ApplicationError(f"{reason} Nothing was touched.", type="bad request", non_retryable=True)


def understood(model: type[M], values: Sequence[object]) -> M:
    """The request in what a run was started with.

    Raises:
        ApplicationError: it is no such request; the message says why.
    """
    fields = f"It takes one JSON object with the fields {', '.join(model.model_fields)}."
    if len(values) != 1:
        raise bad_request(f"The request was not understood: {len(values)} values were given. {fields}")
    if isinstance(values[0], RawValue):
        raise bad_request(f"The request was not understood: it is no JSON. {fields}")
    try:
        return model.model_validate(values[0])
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'request'}: {e['msg']}" for e in error.errors()]
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        shown = "; ".join(problems[:MAX_PROBLEMS])
        raise bad_request(f"The request was not understood ({shown}{more}). {fields}") from None


def known_host(inventory: Inventory, name: str) -> str:
    """The name of a VM-Host, if there is one of that name.

    Raises:
        ApplicationError: there is none; the message names those there are.
    """
    hosts = [host.name for host in inventory.vm_hosts]
    if name not in hosts:
        raise bad_request(
            f"VM-Host {name!r} is not in the inventory of {inventory.cluster}; allowed: {', '.join(hosts)}."
        )
    return name


def must_be_able_to_pass(request: RunRequest) -> None:
    """A run that could never pass one of its gates, because of who requested it, does not begin.

    Raises:
        ApplicationError: with the gate, and what to do.
    """
    approval, maintenance = request.inventory.approval, isinstance(request, MaintenanceRequest)
    why = why_it_would_never_open(approval, request.requested_by, maintenance=maintenance)
    if why:
        raise bad_request(f"The run could never pass its gates. {why}")
