"""Machines: power, autostart and snapshots, by the provider of their VM-Host and by what answers.

"Off" must be proved. The provider's answer counts, unless a port of the machine answers at the same time. Without a
provider a machine is off when at least two of its ports are silent at two looks, and none refuses: a refusal comes from
a system that runs, perhaps one that shuts down, has ended its services and still writes to its disks. A worker that has
lost its own network sees silence everywhere: errors that can be its own are no silence.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Literal

from activities.completed import Completed
from activities.errors import NotUnderstood, SystemTrouble, Transient
from activities.hands import Act, Observe, Observed
from activities.shell import Shell, answer
from inventory.models import Inventory, Machine, PowerTemplates
from procedure.facts import AutostartFact, PowerFact, SnapshotFact
from procedure.subjects import AutostartOf, PowerOf, SnapshotOf

SIGNAL = timedelta(seconds=2)
"""For a port to answer: a machine that is on answers in milliseconds, and a lost packet is sent again after 1 s."""
CONTRADICTION = timedelta(milliseconds=250)
"""For a port to answer before the provider is asked again; where it says *off*, silence agrees with it."""
LEAST_SIGNALS = 2
"""One port may belong to a service that has ended; a second one is another witness."""
Heard = Literal["answers", "refuses", "silent"]
_REFUSAL = (errno.ECONNREFUSED, errno.ECONNRESET)
_SILENCE = (errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT)


class Machines:
    """Observes power, autostart and snapshots."""

    def __init__(self, inventory: Inventory, ssh: Shell) -> None:
        self._inventory = inventory
        self._ssh = ssh

    def observers(self) -> dict[type[Any], Observe]:
        """`PowerOf`, `AutostartOf`, `SnapshotOf`."""
        return {PowerOf: self.power, AutostartOf: self.autostart, SnapshotOf: self.snapshot}

    def actors(self) -> dict[type[Any], Act]:
        """None of its own: hypervisors and machines are told over SSH and WinRM."""
        return {}

    async def close(self) -> None:
        """Nothing is its own."""

    async def power(self, subject: PowerOf) -> Observed:
        """Whether a machine is on.

        Raises:
            SystemTrouble: the provider doesn't tell, and no port answers.
        """
        machine = self._inventory.machine(subject.machine)
        templates = self._templates(machine)
        if templates is None:
            return await self._by_silence(machine)
        provider, heard = await self._provider_and_ports(machine, templates)
        return self._by_provider(machine, _unless_unknown(provider, heard), _known(heard))

    async def autostart(self, subject: AutostartOf) -> Observed:
        """Whether a machine starts with its VM-Host.

        Raises:
            SystemTrouble: the provider could tell, but doesn't.
        """
        machine = self._inventory.machine(subject.machine)
        templates = self._templates(machine)
        if templates is None or templates.autostart is None or templates.autostart_disabled is None:
            return AutostartFact(enabled=None), "the inventory: its provider can't tell"
        completed = await self._ask(machine, templates.autostart)
        printed = _flat(answer(completed, 0))
        if not printed:
            raise NotUnderstood(machine.host, f"`{completed.command}` printed nothing")
        return AutostartFact(enabled=_flat(templates.autostart_disabled) not in printed), _source(completed)

    async def snapshot(self, subject: SnapshotOf) -> Observed:
        """Whether a machine has a snapshot of that name.

        Raises:
            SystemTrouble: the provider could tell, but doesn't.
        """
        machine = self._inventory.machine(subject.machine)
        templates = self._templates(machine)
        if templates is None or templates.snapshots is None or templates.snapshot is None:
            return SnapshotFact(exists=False, possible=False), "the inventory: its provider can't make snapshots"
        completed = await self._ask(machine, templates.snapshots, subject.name)
        return SnapshotFact(exists=subject.name in answer(completed, 0).split()), _source(completed)

    # --- the provider -------------------------------------------------------------------------------------------------

    def _templates(self, machine: Machine) -> PowerTemplates | None:
        power = self._inventory.vm_host(machine.host).power
        return power.commands if power.provider == "command" else None

    async def _ask(self, machine: Machine, template: Sequence[str], snapshot: str = "") -> Completed:
        argv = [word.replace("{vm}", machine.vm_name).replace("{snapshot}", snapshot) for word in template]
        return await self._ssh.run(machine.host, argv, sudo=True)

    async def _provider(self, machine: Machine, templates: PowerTemplates) -> tuple[Literal["on", "off"], str]:
        completed = await self._ask(machine, templates.status)
        printed = _flat(answer(completed, 0))
        on, off = (_flat(word) in printed for word in (templates.status_on, templates.status_off))
        if on == off:
            raise NotUnderstood(
                machine.host,
                f"`{completed.command}`: {completed.words}: neither {templates.status_on} nor {templates.status_off}",
                "compare status_on and status_off of the VM-Host with what the command prints",
            )
        return ("on" if on else "off"), _source(completed)

    def _by_provider(
        self, machine: Machine, provider: tuple[Literal["on", "off"], str] | None, heard: dict[int, Heard]
    ) -> Observed:
        source = f"tcp {machine.address} {_ports(heard)}"
        if provider is None:
            return _fact("on", None, heard), source
        state, asked = provider
        contradicted = state == "off" and "answers" in heard.values()
        return _fact("undecided" if contradicted else state, state, heard), f"{asked}; {source}"

    async def _provider_and_ports(
        self, machine: Machine, templates: PowerTemplates
    ) -> tuple[tuple[Literal["on", "off"], str] | BaseException, dict[int, Heard] | BaseException]:
        """What both say, or why not.

        A machine that is on has time to answer, also where the worker has much to do. Meanwhile its provider is asked
        again: one that goes down falls silent first, and then it goes off any moment.
        """
        patient: asyncio.Future[dict[int, Heard]] | None = None
        try:
            while True:
                provider, heard = await asyncio.gather(
                    self._provider(machine, templates), self._listened(machine, CONTRADICTION), return_exceptions=True
                )
                if _says_off(provider) or set(_known(heard).values()) != {"silent"}:
                    return provider, heard
                if patient is None:
                    patient = asyncio.ensure_future(self._listened(machine, SIGNAL))
                # Who is in trouble is not asked again and again: each refusal is noted where it is refused.
                if patient.done() or isinstance(provider, BaseException):
                    (heard,) = await asyncio.gather(patient, return_exceptions=True)
                    return provider, heard
        finally:
            if patient is not None:
                patient.cancel()

    # --- what answers -------------------------------------------------------------------------------------------------

    async def _by_silence(self, machine: Machine) -> Observed:
        heard = await self._listened(machine, SIGNAL)
        if "answers" not in heard.values():
            await asyncio.sleep(self._inventory.timings.poll.total_seconds())
            again = await self._listened(machine, SIGNAL)
            # Silent now, but refused a moment ago: it may be going down at this very moment.
            heard = {port: heard[port] if said == "silent" else said for port, said in again.items()}
        source = f"tcp {machine.address} {_ports(heard)}, without a provider"
        if "answers" in heard.values():
            return _fact("on", None, heard), source
        silent = set(heard.values()) == {"silent"} and len(heard) >= LEAST_SIGNALS
        return _fact("off" if silent else "undecided", None, heard), source

    async def _listened(self, machine: Machine, longest: timedelta) -> dict[int, Heard]:
        management = machine.port or self._inventory.connections[machine.connection].port
        ports = sorted({management, *machine.signals})
        patience = min(longest, self._inventory.timings.connect)
        heard = await asyncio.gather(*(_heard(machine, port, patience) for port in ports))
        return dict(zip(ports, heard, strict=True))


async def _heard(machine: Machine, port: int, patience: timedelta) -> Heard:
    """What a port says to a connection, at any address of the machine's name.

    Raises:
        Transient: the worker itself may be the reason why nothing.
    """
    try:
        addresses = await _addresses(machine.address)
        heard = await asyncio.gather(*(_heard_at(address, port, patience) for address in addresses))
    except OSError as error:
        seen = f"tcp {machine.address} port {port}: {str(error) or 'its name is not resolved in time'}"
        raise Transient(machine.name, seen, "check the worker's own network") from error
    # In this order one address decides for all of them.
    return "answers" if "answers" in heard else "refuses" if "refuses" in heard else "silent"


async def _addresses(name: str) -> set[str]:
    if _is_numeric(name):
        return {name}  # A thread for each port of each machine would be asked for nothing.
    async with asyncio.timeout(SIGNAL.total_seconds()):
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return {str(address[0]) for *_, address in found}


def _is_numeric(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _heard_at(address: str, port: int, patience: timedelta) -> Heard:
    try:
        async with asyncio.timeout(patience.total_seconds()):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return "silent"
    except OSError as error:
        if error.errno in _REFUSAL:
            return "refuses"
        if error.errno in _SILENCE:
            return "silent"
        raise
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return "answers"


def _says_off(provider: tuple[Literal["on", "off"], str] | BaseException) -> bool:
    return not isinstance(provider, BaseException) and provider[0] == "off"


def _unless_unknown(
    provider: tuple[Literal["on", "off"], str] | BaseException, heard: dict[int, Heard] | BaseException
) -> tuple[Literal["on", "off"], str] | None:
    """What the provider says. Its trouble matters only where no port answers: then nobody knows."""
    if isinstance(provider, SystemTrouble) and isinstance(heard, dict) and "answers" in heard.values():
        return None
    if isinstance(provider, BaseException):
        raise provider
    return provider


def _known(heard: dict[int, Heard] | BaseException) -> dict[int, Heard]:
    if isinstance(heard, SystemTrouble):
        return {}
    if isinstance(heard, BaseException):
        raise heard
    return heard


def _fact(
    state: Literal["on", "off", "undecided"], provider: Literal["on", "off"] | None, heard: dict[int, Heard]
) -> PowerFact:
    return PowerFact(
        state=state,
        provider=provider,
        answering=tuple(port for port, words in heard.items() if words == "answers"),
        silent=tuple(port for port, words in heard.items() if words != "answers"),
        refused=tuple(port for port, words in heard.items() if words == "refuses"),
    )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _ports(heard: dict[int, Heard]) -> str:
    return ", ".join(str(port) for port in heard)


def _source(completed: Completed) -> str:
    return f"ssh {completed.machine}: {completed.command}"
