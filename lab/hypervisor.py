"""The command line of a simulated hypervisor: it knows the commands that the inventory's power templates name."""

from __future__ import annotations

import re
from collections.abc import Callable

from inventory.models import CommandPower, VmHost
from lab.machines import MachineState
from lab.shell import Answer, Call, Handler, Shell
from lab.world import World

# Which machine is meant, and with which snapshot name.
_Action = Callable[[MachineState, str], Answer]


class Hypervisor:
    """Power and snapshots of the machines of one VM-Host."""

    def __init__(self, world: World, host: VmHost, shell: Shell) -> None:
        if not isinstance(host.power, CommandPower):
            raise TypeError(f"{host.name} has no power commands")
        self._world = world
        self._host = host
        self._commands = host.power.commands
        self._shell = shell
        self._slow = {"snapshot", "delete_snapshot"}
        self._actions: dict[str, _Action] = {
            "on": self._on,
            "off": self._off,
            "status": self._status,
            "autostart": self._autostart,
            "snapshot": self._snapshot,
            "snapshots": self._snapshots,
            "delete_snapshot": self._delete_snapshot,
        }

    def handlers(self) -> dict[str, Handler]:
        """By the first word of each template."""
        return {_stripped(template)[0].rpartition("/")[2]: self._run for template in self._templates().values()}

    def _templates(self) -> dict[str, tuple[str, ...]]:
        named = {name: getattr(self._commands, name) for name in self._actions}
        return {name: template for name, template in named.items() if template is not None}

    async def _run(self, call: Call) -> Answer:
        for name, template in self._templates().items():
            found = _fits(_stripped(template), call.argv)
            if found is None:
                continue
            state = self._machine(found.get("vm", ""))
            if state is None:
                return Answer(1, stderr=f"error: failed to get domain '{found.get('vm', '')}'\n")
            if name in self._slow:
                await self._world.sleep(self._world.durations.snapshot)
            await self._world.look_first()
            return self._actions[name](state, found.get("snapshot", ""))
        return self._shell.unknown(call.text, f"{call.name}: not simulated")

    def _machine(self, vm: str) -> MachineState | None:
        own = (state for state in self._world.machines.values() if state.machine.host == self._host.name)
        return next((state for state in own if state.machine.vm_name == vm), None)

    def _on(self, state: MachineState, _: str) -> Answer:
        if self._world.power_on(state.name) == "unchanged":
            return Answer(1, stderr="error: Domain is already active\n")
        return Answer(stdout=f"Domain '{state.machine.vm_name}' started\n\n")

    def _off(self, state: MachineState, _: str) -> Answer:
        if self._world.cut_power(state.name) == "unchanged":
            return Answer(1, stderr="error: Requested operation is not valid: domain is not running\n")
        return Answer(stdout=f"Domain '{state.machine.vm_name}' destroyed\n\n")

    def _status(self, state: MachineState, _: str) -> Answer:
        word = self._commands.status_off if state.power == "off" else self._commands.status_on
        return Answer(stdout=f"{word}\n\n")

    def _autostart(self, state: MachineState, _: str) -> Answer:
        disabled = self._commands.autostart_disabled or "Autostart:      disable"
        line = re.sub("disable", "enable", disabled) if state.autostart else disabled
        if line == disabled and state.autostart:
            line = "Autostart:      enable"
        power = "shut off" if state.power == "off" else "running"
        return Answer(stdout=f"Name:           {state.machine.vm_name}\nState:          {power}\n{line}\n\n")

    def _snapshot(self, state: MachineState, name: str) -> Answer:
        if self._world.take_snapshot(state.name, name) == "refused":
            return Answer(1, stderr=f"error: operation failed: domain snapshot {name} already exists\n")
        return Answer(stdout=f"Domain snapshot {name} created\n")

    def _snapshots(self, state: MachineState, _: str) -> Answer:
        return Answer(stdout="".join(f"{name}\n" for name in state.snapshots) + "\n")

    def _delete_snapshot(self, state: MachineState, name: str) -> Answer:
        if self._world.delete_snapshot(state.name, name) == "missing":
            return Answer(
                1, stderr=f"error: Domain snapshot not found: no domain snapshot with matching name '{name}'\n"
            )
        return Answer(stdout=f"Domain snapshot {name} deleted\n\n")


def _stripped(template: tuple[str, ...]) -> list[str]:
    """Without `sudo -n` and `env NAME=VALUE` in front, which the shell takes away too."""
    words = list(template)
    while len(words) > 1 and (words[0] in ("sudo", "env", "-n") or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words.pop(0)
    return words


def _fits(template: list[str], argv: list[str]) -> dict[str, str] | None:
    """The values of `{vm}` and `{snapshot}` if the command is this one."""
    if len(template) != len(argv):
        return None
    found: dict[str, str] = {}
    for pattern, word in zip(template, argv, strict=True):
        expression = re.escape(pattern).replace(r"\{vm\}", "(?P<vm>.+)").replace(r"\{snapshot\}", "(?P<snapshot>.+)")
        match = re.fullmatch(expression, word)
        if match is None:
            return None
        found |= match.groupdict()
    return found
