"""Pacemaker, DRBD, addresses and mounts on the command line of a simulated Linux machine."""

from __future__ import annotations

import asyncio

from lab.drbd import DrbdPair
from lab.pacemaker import Node, PacemakerPair
from lab.pacemaker_text import (
    DISCONNECTED_XML,
    constraints_listing,
    constraints_xml,
    crm_mon_xml,
    disks,
    drbd_status,
    proc_drbd,
    roles,
)
from lab.shell import Answer, Call, Handler, Shell, needs_root

_DENIED = Answer(4, stderr="Error: unable to get cib: Permission denied\n")
_NO_MINOR = (
    "{minor}: Failure: (127) Device minor not allocated\nadditional info from kernel:\nunknown minor\n"
    "Command 'drbdsetup-84 {verb} {minor}' terminated with exit code 10\n"
)
_PCS = {"0.10": "0.10.11", "0.11": "0.11.5"}
# `pcs --wait` without a figure.
_DEFAULT_WAIT_SECONDS = 3600.0


def _link_local(address: str) -> str:
    """The address that every network card gives itself; here made of the other one."""
    *_, third, fourth = (int(part) for part in address.split("."))
    return f"fe80::77:ff:fe{third:02x}:{fourth:x}"


class PairCommands:
    """What a machine says and does about its pair. A machine without one has addresses and mounts only."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._world = shell.world
        self._machine = shell.machine
        self._pair = shell.world.pair_on(shell.machine)

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        handlers: dict[str, Handler] = {"ip": self._ip, "findmnt": self._findmnt}
        if self._pair:
            handlers |= {
                "crm_mon": needs_root(self._crm_mon, _DENIED),
                "cibadmin": needs_root(self._cibadmin, _DENIED),
                "pcs": needs_root(self._pcs, _DENIED),
            }
        if self._pair and self._pair.drbd:
            handlers |= {"drbdadm": needs_root(self._drbdadm, _DENIED), "drbdsetup": self._drbdsetup}
        return handlers

    def proc_drbd(self) -> str | None:
        """`/proc/drbd`; None where there is no DRBD."""
        if self._pair is None or self._pair.drbd is None:
            return None
        return proc_drbd(self._pair.drbd, self._machine, self._pair.pair.drbd_minor)

    @property
    def _here(self) -> PacemakerPair:
        if self._pair is None:
            raise KeyError(f"{self._machine} belongs to no pair")
        return self._pair

    def _running(self) -> bool:
        return self._here.nodes[self._machine].online

    async def _crm_mon(self, call: Call) -> Answer:
        if "--as-xml" in call.args or "-X" in call.args:
            return Answer(64, stderr="crm_mon: option parsing failed: Unknown option --as-xml\n")
        if "--output-as=xml" not in call.args and call.option("--output-as") != "xml":
            return self._shell.unknown(call.text, "crm_mon: only --output-as=xml is simulated")
        if not self._running():
            return Answer(102, DISCONNECTED_XML)
        return Answer(stdout=crm_mon_xml(self._here, self._machine))

    async def _cibadmin(self, call: Call) -> Answer:
        if "-Q" not in call.args and "--query" not in call.args:
            return self._shell.unknown(call.text, "cibadmin: only --query is simulated")
        if not self._running():
            return Answer(102, stderr="cibadmin: Could not connect to the CIB: Transport endpoint is not connected\n")
        constraints = constraints_xml(self._here)
        scope = call.option("--scope") or call.option("-o")
        if scope == "constraints":
            return Answer(stdout=constraints)
        return Answer(stdout=f"<cib>\n<configuration>\n{constraints}</configuration>\n</cib>\n")

    async def _pcs(self, call: Call) -> Answer:
        if call.args == ["--version"]:
            return Answer(stdout=f"{_PCS[self._world.pcs]}\n")
        # pcs is Python: it takes its time before it does anything.
        await self._world.sleep(self._world.durations.pcs)
        if not self._running():
            return Answer(
                1, stderr="Error: error running crm_mon, is pacemaker running?\n  crm_mon: Connection refused\n"
            )
        words = call.plain()
        if words[:1] == ["node"] and words[1:2] in (["standby"], ["unstandby"]):
            return await self._standby(call, words)
        if words[:1] == ["resource"]:
            return await self._resource(call, words)
        return self._show(call, words)

    async def _resource(self, call: Call, words: list[str]) -> Answer:
        if words[1:2] == ["move"]:
            return await self._move(words)
        if words[1:2] == ["cleanup"]:
            self._world.journal.write(self._machine, "pcs resource cleanup")
            self._here.cleanup()
            return Answer()
        if words[1:2] == ["clear"] and len(words) > 2:
            bound = any(preference.resource == words[2] for preference in self._here.preferences)
            self._world.journal.write(self._machine, f"pcs resource clear {words[2]}", "done" if bound else "unchanged")
            self._here.clear(words[2])
            return Answer()
        return self._shell.unknown(call.text, "pcs resource: not simulated")

    def _show(self, call: Call, words: list[str]) -> Answer:
        if words[:1] == ["constraint"]:
            return Answer(stdout=constraints_listing(self._here))
        if words[:2] == ["status", "xml"]:
            return Answer(stdout=crm_mon_xml(self._here, self._machine))
        return self._shell.unknown(call.text, "pcs: not simulated")

    async def _standby(self, call: Call, words: list[str]) -> Answer:
        node = self._here.node_named(words[2]) if len(words) > 2 else self._here.nodes[self._machine]
        if node is None:
            return Answer(1, stderr=f"Error: Node '{words[2]}' does not appear to exist in configuration\n")
        self._world.standby(node.machine, standby=words[1] == "standby")
        wait = next((word for word in call.args if word.startswith("--wait")), None)
        return await self._settled(wait) if wait else Answer()

    async def _settled(self, wait: str) -> Answer:
        limit = float(wait.partition("=")[2] or _DEFAULT_WAIT_SECONDS)
        waiting = asyncio.ensure_future(self._world.until(lambda: self._here.idle))
        timing = asyncio.ensure_future(self._world.sleep(limit))
        try:
            await asyncio.wait({waiting, timing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timing.cancel()
        return Answer() if self._here.idle else Answer(1, stderr="Error: waiting timeout\n")

    async def _move(self, words: list[str]) -> Answer:
        known = {resource.id for resource in self._here.resources} | {
            self._here.pair.promotable,
            f"g_{self._here.kind}",
        }
        if len(words) < 3 or words[2] not in known:
            return Answer(
                1, stderr=f"Error: bundle/clone/group/resource '{words[2] if words[2:] else ''}' does not exist\n"
            )
        node = self._here.node_named(words[3]) if len(words) > 3 else self._elsewhere()
        if node is None:
            return Answer(1, stderr=f"Error: Node '{words[3]}' does not exist\n")
        if self._world.pcs == "0.10":
            # It returns at once, and the constraint stays.
            self._world.move_pair(self._here, node.machine, bind=words[2])
            return Answer()
        self._world.move_pair(self._here, node.machine)
        await self._world.until(lambda: self._here.idle)
        self._here.moving_to = None
        name, where = words[2], self._here.primaries
        if where != [node.machine]:
            return Answer(1, stderr=f"Error: resource '{name}' is not running on node '{node.name}'\n")
        return Answer(
            stderr=f"Location constraint to move resource '{name}' has been created\n"
            "Waiting for the cluster to apply configuration changes...\n"
            f"Location constraint created to move resource '{name}' has been removed\n"
            "Waiting for the cluster to apply configuration changes...\n"
            f"resource '{name}' is running on node '{node.name}'\n"
        )

    def _elsewhere(self) -> Node | None:
        primaries = self._here.primaries
        return self._here.peer(primaries[0]) if primaries else None

    @property
    def _drbd(self) -> DrbdPair:
        if self._here.drbd is None:
            raise KeyError(f"{self._machine} has no DRBD")
        return self._here.drbd

    async def _drbdadm(self, call: Call) -> Answer:
        words = call.plain()
        verb, resource = (words[0], words[1]) if len(words) == 2 else ("", "")
        if verb not in ("role", "cstate", "dstate", "status") or resource not in (self._here.pair.drbd, "all"):
            return self._shell.unknown(call.text, "drbdadm: not simulated")
        if not self._drbd.nodes[self._machine].up:
            return self._drbd_down(verb)
        answers = {
            "role": roles(self._drbd, self._machine) + "\n",
            "cstate": self._drbd.connection(self._machine) + "\n",
            "dstate": disks(self._drbd, self._machine) + "\n",
            "status": drbd_status(self._drbd, self._machine, str(self._here.pair.drbd)),
        }
        return Answer(stdout=answers[verb])

    def _drbd_down(self, verb: str) -> Answer:
        if verb == "dstate":
            # As recorded: read from the metadata on disk, with success.
            return Answer(stdout="Consistent\n")
        name = self._here.pair.drbd
        if verb == "status":
            problem = f"{name}: No such resource\nCommand 'drbdsetup-84 status {name}' terminated with exit code 10\n"
            return Answer(10, stderr=problem)
        return Answer(10, stderr=_NO_MINOR.format(minor=self._here.pair.drbd_minor, verb=verb))

    async def _drbdsetup(self, call: Call) -> Answer:
        if "--json" in call.args:
            return Answer(20, stderr="drbdsetup: unrecognized option '--json'\n")
        if not self._drbd.nodes[self._machine].up:
            if call.plain()[:1] == ["status"]:
                return Answer(10, stderr=f"{self._here.pair.drbd}: No such resource\n")
            return self._drbd_down("role")
        return Answer(stdout=drbd_status(self._drbd, self._machine, str(self._here.pair.drbd)))

    async def _ip(self, call: Call) -> Answer:
        if not {"addr", "address", "a"} & set(call.args) or "-o" not in call.args:
            return self._shell.unknown(call.text, "ip: only -o addr show is simulated")
        forever = "\\       valid_lft forever preferred_lft forever\n"
        own = self._world.machines[self._machine].machine.address
        lines = [f"1: lo    inet 127.0.0.1/8 scope host lo{forever}"]
        lines.append(f"2: eth0    inet {own}/24 brd {own.rpartition('.')[0]}.255 scope global eth0{forever}")
        if self._pair and self._pair.address_on == self._machine:
            moving = self._pair.pair.address
            brd = f"{moving.rpartition('.')[0]}.255"
            lines.append(f"2: eth0    inet {moving}/24 brd {brd} scope global secondary eth0{forever}")
        if "-4" not in call.args:
            lines.insert(1, f"1: lo    inet6 ::1/128 scope host {forever}")
            lines.append(f"2: eth0    inet6 {_link_local(own)}/64 scope link {forever}")
        return Answer(stdout="".join(lines))

    async def _findmnt(self, call: Call) -> Answer:
        mounts = [("/", "/dev/vda1", "ext4", "rw,relatime"), *self._pair_mounts()]
        wanted = [word for word in call.args if word.startswith("/")]
        if wanted:
            mounts = [mount for mount in mounts if wanted[0] in mount[:2]]
        columns = (call.option("-o") or call.option("--output") or "TARGET,SOURCE,FSTYPE,OPTIONS").split(",")
        numbers = {"TARGET": 0, "SOURCE": 1, "FSTYPE": 2, "OPTIONS": 3}
        if set(columns) - set(numbers) or "--json" in call.args or "-J" in call.args:
            return self._shell.unknown(call.text, "findmnt: not simulated")
        text = "".join(" ".join(mount[numbers[column]] for column in columns) + "\n" for mount in mounts)
        return Answer(0 if mounts else 1, text)

    def _pair_mounts(self) -> list[tuple[str, str, str, str]]:
        pair = self._pair
        if pair is None or pair.pair.mount is None or pair.mounted_on != self._machine:
            return []
        device = f"/dev/drbd{pair.pair.drbd_minor}" if pair.pair.drbd else "/dev/vdb1"
        return [(pair.pair.mount, device, "ext4", "rw,relatime")]
