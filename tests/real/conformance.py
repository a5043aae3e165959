"""The real and the simulated cluster side by side: the product's hands act on both, what is seen is compared.

What is compared are facts, reports and problems, field by field. An address is compared by whose it is, since each
world has its own. What may differ is declared in `MAY_DIFFER`, each with its reason; nothing else may.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import pytest

from activities.all_hands import all_hands
from activities.engine import StepStopped, carry_out
from activities.hands import Hands
from inventory.models import AlertmanagerMonitoring, CommandPower, HttpProbe, Inventory, SqlProbe, TcpProbe
from lab.lab import Lab
from lab.real.lab import RealLab
from procedure import health_check
from procedure.commands.base import Command
from procedure.facts import Facts, Observation
from procedure.reports import StepReport
from procedure.situation import Situation
from procedure.subjects import BackupAt, SnapshotOf, Subject
from tests.deploy.test_sudoers import DUMP, REFERENCE

Told = Mapping[str, Any]
"""Every field of what was seen, by its path: `servers.web/acd-jb1.status`."""

SPEED = 20.0
_ALIKE_SECONDS = 20.0
_LOOK_SECONDS = 0.2
SNAPSHOT = f"failover-{REFERENCE}"
_PREFIX = "SIMULATED_"

_OF_PROBES = "how long an answer takes"
_OF_SESSIONS = "each cluster has callers and programs of its own, with as many sessions as they like"
_OF_POSITIONS = "each server counts for itself"
_OF_FENCING = "nothing prefers a node for the fencing agent, so either may run it"
MAY_DIFFER: dict[str, str] = {
    "probe.milliseconds": _OF_PROBES,
    "run_probe.seen": _OF_PROBES,
    "sessions.sessions.*": _OF_SESSIONS,
    "sessions.ignored": _OF_SESSIONS,
    "balancer.servers.*.sessions": _OF_SESSIONS,
    "replication.position": _OF_POSITIONS,
    "replication.channels.*.gtid": _OF_POSITIONS,
    "replication.channels.*.caught_up": "while writes go on, it depends on the moment",
    "replay.written": _OF_POSITIONS,
    "replay.replayed": _OF_POSITIONS,
    "check_caught_up.seen": _OF_POSITIONS,
    "*.conditions.* has replayed all changes of *.reason": _OF_POSITIONS,
    "backup.bytes": "each has data of its own",
    "backup.sha256": "each has data of its own",
    "shut_down_machine.sent.*.answer": "the connection ends with the answer or before it",
    "move_pair.conditions.no session is active on the active load balancer and master.reason": _OF_SESSIONS,
    "take_backup.seen": "each has data of its own",
    "silence_monitoring.seen": "the time until when: both are asked a moment apart",
    "silence_monitoring.sent.*.answer": "as above",
    "silences.silences.*.id": "made up by the server",
    "silences.silences.*.until": "both are asked a moment apart",
    "cluster.resources.fencing.nodes": _OF_FENCING,
    "cluster.resources.fencing.agent": "each has a power supply of its own kind",
    "cluster.nodes.*.resources_running": _OF_FENCING,
    "cluster.resources.*.container": "a group in the one, the same by constraints in the other: sites do either",
    "balancer.servers.*.check": "the simulation asks a database for a connection, not in its own protocol",
}
COUNTERS: dict[str, str] = {"sessions.count": _OF_SESSIONS}
"""What may differ, but not in whether it is 0."""


@dataclass
class World:
    """One of the two, with the product's hands."""

    inventory: Inventory
    hands: Hands
    ports: Mapping[int, int]
    """Its own port for one of the real cluster, by its own."""

    async def anew(self) -> None:
        """Without connections, and with what the secrets are now."""
        await self.hands.close()
        self.hands = all_hands(self.inventory)

    def situation(self, vacated: str) -> Situation:
        """With one of its hosts vacated."""
        return Situation(self.inventory, vacated)

    async def look(self, subjects: Iterable[Subject]) -> dict[str, Told]:
        """What is seen of each subject."""
        return {o.subject.key: self.of_observation(o) for o in await self.hands.observe_all(subjects)}

    async def do(self, command: Command, vacated: str) -> Told:
        """Carry out a command: how it ended, what was sent, what was answered."""
        try:
            report = await carry_out(command, self.situation(vacated), self.hands)
        except StepStopped as stopped:
            problem = stopped.problem.model_dump(exclude={"report"})
            return self._told({"command": command.kind, "problem": problem, **_of_report(stopped.problem.report)})
        return self._told({"command": command.kind, **_of_report(report)})

    async def do_all_the_same(self, command: Command, vacated: str) -> Told:
        """Send it although its conditions are against it, and wait for what is wanted."""
        situation = self.situation(vacated)
        facts = Facts(observations=await self.hands.observe_all(command.observes(situation)))
        sent = [await self.hands.act(instruction) for instruction in command.instructions(situation, facts)]
        report = await carry_out(command, situation, self.hands, verify_only=True)
        answers = [{"sent": e.instruction, "answer": e.answer} for e in sent]
        return self._told({"command": command.kind, **_of_report(report), "sent": answers})

    def of_observation(self, observation: Observation) -> Told:
        """The fact and its source, or why there is none."""
        return self._told(observation.model_dump(mode="json", exclude={"subject", "at"}))

    def _told(self, data: object) -> Told:
        return dict(_paths(self._named(data)))

    def _named(self, data: object) -> object:
        """With names in the place of addresses and ports."""
        if isinstance(data, Mapping):
            return {key: self._named(value) for key, value in data.items()}
        if isinstance(data, list | tuple):
            return [self._named(value) for value in data]
        if isinstance(data, str):
            return self._words(data)
        return self.ports.get(data, data) if isinstance(data, int) and not isinstance(data, bool) else data

    def _words(self, text: str) -> str:
        text = _LINK_LOCAL.sub("link-local address", text)
        named = _ADDRESS.sub(lambda found: self._names.get(found[0], found[0]), text)
        return _PORT.sub(lambda found: str(self.ports.get(int(found[0]), found[0])), named).replace(":80/", "/")

    @cached_property
    def _names(self) -> dict[str, str]:
        pairs, monitoring = self.inventory.pairs, self.inventory.monitoring
        names = {machine.address: machine.name for machine in self.inventory.machines}
        names |= {pairs.storage.address: "storage-address", pairs.load_balancer.address: "service-address"}
        if isinstance(monitoring, AlertmanagerMonitoring):
            names[urlsplit(monitoring.url).hostname or ""] = "monitoring"
        for host in self.inventory.vm_hosts:
            if isinstance(host.power, CommandPower):
                names[host.power.address] = host.name
        return names


_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_LINK_LOCAL = re.compile(r"\bfe80:[0-9a-f:]+")
_PORT = re.compile(r"(?<![\w.-])\d{4,5}(?![\w.-])")


def _ports(real: Inventory, simulated: Inventory) -> dict[int, int]:
    """Which port of the simulated cluster, whose ports are not root's, is which of the real one."""
    found = {simulated.database.port: real.database.port}
    for one, other in zip(real.machines, simulated.machines, strict=True):
        found[other.port or 0] = one.port or real.connections[one.connection].port
    for probe, same in zip(real.probes, simulated.probes, strict=True):
        if isinstance(probe, HttpProbe) and isinstance(same, HttpProbe):
            found[urlsplit(same.url).port or 80] = urlsplit(probe.url).port or 80
        elif isinstance(probe, TcpProbe | SqlProbe) and isinstance(same, TcpProbe | SqlProbe):
            found[same.port] = probe.port
    return found


def _of_report(report: StepReport | None) -> dict[str, Any]:
    if report is None:
        return {}
    verdicts = {v.condition: {"answer": v.answer, "reason": v.reason} for v in report.verdicts}
    sent = [
        {"sent": e.instruction, "answer": e.answer} for e in report.evidence if not e.instruction.startswith("observed")
    ]
    return {"outcome": report.outcome, "seen": report.seen, "conditions": verdicts, "sent": sent}


def _paths(data: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; members of lists that have a name by their name."""
    if isinstance(data, list) and data and all(isinstance(each, dict) for each in data):
        data = {f"{_label(each)}#{number}" if number else _label(each): each for number, each in _numbered(data)}
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _paths(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, sorted(map(str, data)) if isinstance(data, list) else data


def _numbered(data: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    seen: dict[str, int] = {}
    for each in sorted(data, key=lambda one: (_label(one), str(one.get("nodes")))):
        label = _label(each)
        yield seen.get(label, 0), each
        seen[label] = seen.get(label, 0) + 1


def _label(member: Mapping[str, Any]) -> str:
    if "server" in member:
        return f"{member['backend']}/{member['server']}"
    if "machines" in member:
        return ",".join(member["machines"])
    if "source_host" in member:
        return str(member["source_host"])
    return str(member.get("name") or member.get("id") or member.get("sent") or "")


@dataclass
class Worlds:
    """Both."""

    real: World
    simulated: World
    lab: Lab

    async def alike(self, subjects: Iterable[Subject], when: str) -> None:
        """Both come to look alike. What is on its way is waited for: the two take their own time.

        Raises:
            AssertionError: they do not; with every difference.
        """
        asked = tuple(subjects)
        deadline = asyncio.get_running_loop().time() + _ALIKE_SECONDS
        while True:
            seen = await asyncio.gather(self.real.look(asked), self.simulated.look(asked))
            found = [
                each for subject in asked for each in self._differences(subject.key, *(s[subject.key] for s in seen))
            ]
            if not found:
                return
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"{when}:\n" + "\n".join(found), pytrace=False)
            await asyncio.sleep(_LOOK_SECONDS)

    async def alike_unseen(self, subject: Subject, when: str) -> None:
        """Nothing is seen, and both say so in the same words.

        Raises:
            AssertionError: something is seen, or the words differ.
        """
        for world in (self.real, self.simulated):
            await world.anew()
            assert (await world.hands.observe(subject)).problem, f"{when} {subject.key} is seen all the same"
        await self.alike([subject], when)

    async def do(self, command: Command, vacated: str = "vm-host-1", *, all_the_same: bool = False) -> None:
        """Carry out a command in both; it ends alike.

        Raises:
            AssertionError: it does not; with every difference.
        """
        real, simulated = await asyncio.gather(
            *(
                world.do_all_the_same(command, vacated) if all_the_same else world.do(command, vacated)
                for world in (self.real, self.simulated)
            )
        )
        found = self._differences(command.title, real, simulated)
        assert not found, f"{command.title}:\n" + "\n".join(found)

    def _differences(self, what: str, real: Told, simulated: Told) -> list[str]:
        kind = real.get("fact.kind") or real.get("command") or "problem"
        found = []
        for path in sorted({*real, *simulated}):
            named = f"{kind}.{path.removeprefix('fact.')}"
            if not _may_differ(named, real.get(path), simulated.get(path)):
                found.append(f"  {what} | {named}: real {real.get(path)!r}, simulated {simulated.get(path)!r}")
        return found


def _with_the_times_of(real: Inventory, simulated: Inventory) -> Inventory:
    """The simulated inventory, whose times are shortened, with those of the other."""
    lasts = {name: getattr(real.monitoring, name) for name in ("downtime", "maintenance")}
    monitoring = simulated.monitoring.model_copy(update=lasts)
    return simulated.model_copy(update={"timings": real.timings, "monitoring": monitoring})


def _may_differ(path: str, real: object, simulated: object) -> bool:
    if any(fnmatchcase(path, one) for one in COUNTERS):
        return bool(real) == bool(simulated)
    return real == simulated or any(fnmatchcase(path, one) for one in MAY_DIFFER)


def subjects(inventory: Inventory) -> tuple[Subject, ...]:
    """Everything that can be observed of what is real in the real lab."""
    windows = {machine.name for machine in inventory.machines if machine.os == "windows"}
    usual = health_check.subjects(inventory)
    more = (
        BackupAt(machine="acd-dbm1", path=DUMP),
        SnapshotOf(machine="acd-lb1", name=SNAPSHOT),
    )
    return (*(s for s in usual if getattr(s, "machine", "") not in windows), *more)


@asynccontextmanager
async def side_by_side(real: RealLab) -> AsyncIterator[Worlds]:
    """The simulated cluster beside the real one, of the same inventory."""
    # In one process the two need secrets of their own.
    text = real.inventory.model_dump_json(exclude_unset=True).replace('"env:', f'"env:{_PREFIX}')
    async with Lab.start(Inventory.model_validate_json(text), speed=SPEED, callers=False) as lab:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in {**real.environment, **lab.environment}.items():
                environment.setenv(name, value)
            told = _with_the_times_of(real.inventory, lab.inventory)
            worlds = Worlds(
                World(real.inventory, all_hands(real.inventory), {}),
                World(told, all_hands(told), _ports(real.inventory, lab.inventory)),
                lab,
            )
            try:
                yield worlds
            finally:
                await worlds.real.hands.close()
                await worlds.simulated.hands.close()
