from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.hands import Observed
from activities.machines import Machines
from activities.ssh import Ssh
from procedure.facts import AutostartFact, PowerFact, SnapshotFact
from procedure.subjects import AutostartOf, PowerOf, SnapshotOf
from tests.activities.cluster import machine
from tests.activities.ssh_server import MACHINE, Command, SshServer, answering

DOMSTATE = "virsh --connect qemu:///system domstate acd-jb1"
DOMINFO = "virsh --connect qemu:///system dominfo acd-jb1"
SNAPSHOTS = "virsh --connect qemu:///system snapshot-list acd-jb1 --name"
POWER = PowerOf(machine=MACHINE)
MANUAL = {"provider": "manual"}
IMPATIENT = {"connect": "300ms"}


@contextmanager
def _unused(*, count: int = 1) -> Iterator[list[int]]:
    """Ports on which nobody listens, kept from others meanwhile."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    yield [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()


@contextmanager
def _silent(*, count: int = 1) -> Iterator[list[int]]:
    """Ports that say nothing at all, as those of a machine that is off."""
    with ExitStack() as open_ones:
        deaf = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for each in deaf:
            each.bind(("127.0.0.1", 0))
            each.listen(0)
            for _ in range(2):
                client = open_ones.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(each.getsockname())
        yield [each.getsockname()[1] for each in deaf]


async def _observe(
    server: SshServer,
    *,
    port: int,
    signals: list[int] | None = None,
    power: dict[str, Any] | None = None,
    timings: dict[str, str] | None = None,
    **more: str,
) -> PowerFact:
    """Power of acd-jb1, whose management port is `port`; the hypervisor is the server."""

    def change(raw: dict[str, Any]) -> None:
        raw["timings"].update(timings or {})
        machine(raw, MACHINE).update(port=port, signals=signals or [], **more)
        if power:
            raw["vm_hosts"][0]["power"] = power

    inventory = server.inventory(change)
    ssh = Ssh(inventory)
    try:
        fact, _ = await Machines(inventory, ssh).power(POWER)
    finally:
        await ssh.close()
    assert isinstance(fact, PowerFact)
    return fact


@pytest.fixture
async def machines(ssh_server: SshServer) -> AsyncIterator[Machines]:
    inventory = ssh_server.inventory()
    ssh = Ssh(inventory)
    yield Machines(inventory, ssh)
    await ssh.close()


def _fact(observed: Observed) -> object:
    return observed[0]


# --- power, with a provider -------------------------------------------------------------------------------------------


async def test_on_by_the_provider(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, "running\n\n", "")})
    fact = await _observe(ssh_server, port=ssh_server.port)
    assert fact == PowerFact(state="on", provider="on", answering=(ssh_server.port,))
    assert ssh_server.commands[-1].line.startswith("env LC_ALL=C sudo -n virsh")


async def test_on_by_the_provider_although_nothing_answers(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, "running\n", "")})
    with _unused() as (port,):
        assert await _observe(ssh_server, port=port) == PowerFact(
            state="on", provider="on", silent=(port,), refused=(port,)
        )


async def test_off_by_the_provider(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, "shut  off\n", "")})
    with _unused() as (port,):
        assert await _observe(ssh_server, port=port) == PowerFact(
            state="off", provider="off", silent=(port,), refused=(port,)
        )


async def test_a_machine_that_fell_silent_is_off_as_soon_as_its_provider_says_so(ssh_server: SshServer) -> None:
    printed = iter(["running", "running"])

    async def goes_off(command: Command) -> None:
        command.exits(0, f"{next(printed, 'shut off')}\n")

    ssh_server.answer = goes_off
    with _silent() as (port,):
        fact = await _observe(ssh_server, port=port, timings=IMPATIENT)
    assert fact == PowerFact(state="off", provider="off", silent=(port,))
    assert len(ssh_server.commands) == 3


async def test_a_machine_that_is_on_and_silent_is_not_waited_for_long(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, "running\n", "")})
    with _silent() as (port,):
        fact = await _observe(ssh_server, port=port, timings=IMPATIENT)
    assert fact == PowerFact(state="on", provider="on", silent=(port,))


async def test_a_provider_that_is_contradicted_decides_nothing(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, "shut off\n", "")})
    fact = await _observe(ssh_server, port=ssh_server.port)
    assert (fact.state, fact.provider, fact.answering) == ("undecided", "off", (ssh_server.port,))


@pytest.mark.parametrize("printed", ["", "paused\n", "running, then shut off\n"])
async def test_a_state_the_inventory_does_not_name_is_unknown(ssh_server: SshServer, printed: str) -> None:
    ssh_server.answer = answering({DOMSTATE: (0, printed, "")})
    with _unused() as (port,), pytest.raises(NotUnderstood, match="vm-host-1"):
        await _observe(ssh_server, port=port)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ((1, "", "error: failed to get domain 'acd-jb1'"), NotUnderstood),
        ((1, "", "sudo: a password is required"), Rejected),
        ((127, "", "bash: virsh: command not found"), Rejected),
    ],
)
async def test_a_provider_in_trouble_is_not_taken_for_off(
    ssh_server: SshServer, answer: tuple[int, str, str], trouble: type[SystemTrouble]
) -> None:
    ssh_server.answer = answering({DOMSTATE: answer})
    with _unused(count=3) as (port, *signals), pytest.raises(trouble):
        await _observe(ssh_server, port=port, signals=signals)


async def test_a_provider_that_refuses_is_not_asked_again_and_again(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (1, "", "sudo: a password is required")})
    with _silent() as (port,), pytest.raises(Rejected):
        await _observe(ssh_server, port=port, timings=IMPATIENT)
    assert len(ssh_server.commands) == 1


async def test_a_machine_that_answers_is_on_whatever_ails_its_provider(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMSTATE: (1, "", "error: failed to connect to the hypervisor")})
    fact = await _observe(ssh_server, port=ssh_server.port)
    assert fact == PowerFact(state="on", provider=None, answering=(ssh_server.port,))


# --- power, without a provider ----------------------------------------------------------------------------------------


async def test_two_silent_ports_prove_off(ssh_server: SshServer) -> None:
    with _silent(count=2) as (port, signal):
        fact = await _observe(ssh_server, port=port, signals=[signal], power=MANUAL, timings=IMPATIENT)
    assert fact == PowerFact(state="off", silent=tuple(sorted((port, signal))))


async def test_one_silent_port_proves_nothing(ssh_server: SshServer) -> None:
    with _silent() as (port,):
        assert (await _observe(ssh_server, port=port, power=MANUAL, timings=IMPATIENT)).state == "undecided"
        # The same port again is no second witness.
        again = await _observe(ssh_server, port=port, signals=[port], power=MANUAL, timings=IMPATIENT)
        assert again.state == "undecided"


async def test_a_refusal_comes_from_a_system_that_runs(ssh_server: SshServer) -> None:
    with _unused(count=2) as (port, signal):
        fact = await _observe(ssh_server, port=port, signals=[signal], power=MANUAL)
    both = tuple(sorted((port, signal)))
    assert fact == PowerFact(state="undecided", silent=both, refused=both)
    with _unused() as (port,), _silent(count=2) as signals:
        fact = await _observe(ssh_server, port=port, signals=signals, power=MANUAL, timings=IMPATIENT)
    assert (fact.state, fact.refused) == ("undecided", (port,))


async def test_a_refusal_at_the_first_look_still_counts_at_the_second(ssh_server: SshServer) -> None:
    with socket.socket() as ending, socket.socket() as first, socket.socket() as second, _silent() as (signal,):
        ending.bind(("127.0.0.1", 0))

        def fall_silent() -> None:
            ending.listen(0)
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(ending.getsockname())

        # The first look takes 0.3 s by the silent signal; the second comes half a second after that.
        asyncio.get_running_loop().call_later(0.5, fall_silent)
        port, timings = ending.getsockname()[1], {**IMPATIENT, "poll": "500ms"}
        fact = await _observe(ssh_server, port=port, signals=[signal], power=MANUAL, timings=timings)
    assert (fact.state, fact.refused) == ("undecided", (port,))


async def test_one_answering_port_proves_on(ssh_server: SshServer) -> None:
    with _unused() as (port,):
        fact = await _observe(ssh_server, port=port, signals=[ssh_server.port], power=MANUAL)
    assert fact == PowerFact(state="on", answering=(ssh_server.port,), silent=(port,), refused=(port,))


async def test_a_machine_that_answers_at_the_second_look_is_on(ssh_server: SshServer) -> None:
    with socket.socket() as late, _unused() as (port,):
        late.bind(("127.0.0.1", 0))
        # The first look takes a millisecond, the second comes after half a second.
        asyncio.get_running_loop().call_later(0.2, late.listen)
        signal = late.getsockname()[1]
        fact = await _observe(ssh_server, port=port, signals=[signal], power=MANUAL, timings={"poll": "500ms"})
    assert fact.state == "on"


@pytest.mark.parametrize("address", ["no-such-name.invalid", "255.255.255.255"])
async def test_a_worker_without_network_sees_no_silence(ssh_server: SshServer, address: str) -> None:
    with pytest.raises(Transient, match="worker's own network"):
        await _observe(ssh_server, port=22, signals=[445], power=MANUAL, address=address)


# --- autostart and snapshots ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "enabled"), [("Name: x\nAutostart:      disable\n", False), ("Name: x\nAutostart: enable\n", True)]
)
async def test_autostart(machines: Machines, ssh_server: SshServer, printed: str, enabled: bool) -> None:
    ssh_server.answer = answering({DOMINFO: (0, printed, "")})
    assert _fact(await machines.autostart(AutostartOf(machine=MACHINE))) == AutostartFact(enabled=enabled)


async def test_autostart_that_was_not_told(machines: Machines, ssh_server: SshServer) -> None:
    ssh_server.answer = answering({DOMINFO: (0, "\n", "")})
    with pytest.raises(NotUnderstood):
        await machines.autostart(AutostartOf(machine=MACHINE))


@pytest.mark.parametrize(("name", "exists"), [("failover-7", True), ("failover", False), ("failover-70", False)])
async def test_a_snapshot_by_its_whole_name(machines: Machines, ssh_server: SshServer, name: str, exists: bool) -> None:
    ssh_server.answer = answering({SNAPSHOTS: (0, "before-update\nfailover-7\n\n", "")})
    fact = _fact(await machines.snapshot(SnapshotOf(machine=MACHINE, name=name)))
    assert fact == SnapshotFact(exists=exists)


async def test_a_provider_that_can_not_tell(ssh_server: SshServer) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["vm_hosts"][0]["power"] = MANUAL

    inventory = ssh_server.inventory(change)
    machines = Machines(inventory, Ssh(inventory))
    assert _fact(await machines.autostart(AutostartOf(machine=MACHINE))) == AutostartFact(enabled=None)
    assert _fact(await machines.snapshot(SnapshotOf(machine=MACHINE, name="x"))) == SnapshotFact(
        exists=False, possible=False
    )


async def test_the_name_on_the_hypervisor_is_one_word(ssh_server: SshServer) -> None:
    ssh_server.answer = answering({"virsh": (0, "running", "")})
    await _observe(ssh_server, port=ssh_server.port, vm="VM.of-jb1_x")
    assert ssh_server.commands[-1].words[-1] == "VM.of-jb1_x"
