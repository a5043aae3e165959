"""`systemctl`, `service` and the ways to shut a simulated Linux machine down."""

from __future__ import annotations

from lab.machines import Service
from lab.shell import Answer, Call, Handler, Shell
from lab.watching import Effect

# ActiveState, SubState.
_STATES = {
    "running": ("active", "running"),
    "stopped": ("inactive", "dead"),
    "starting": ("activating", "start"),
    "stopping": ("deactivating", "stop-sigterm"),
    "failed": ("failed", "failed"),
}
_NOT_ALLOWED = Answer(1, stderr="Call failed: Interactive authentication required.\n")


class ServiceCommands:
    """Services of one machine, and its end."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._world = shell.world
        self._state = shell.world.machines[shell.machine]

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        return {
            "systemctl": self._systemctl,
            "service": self._service,
            "shutdown": self._shutdown,
            "poweroff": self._power_off,
        }

    async def _systemctl(self, call: Call) -> Answer:
        words = call.plain()
        verb, units = (words[0], words[1:]) if words else ("", [])
        # `-p NAME` takes its value as a word of its own.
        taken = [call.args[i + 1] for i, word in enumerate(call.args[:-1]) if word in ("-p", "--property", "-t")]
        units = [unit for unit in units if unit not in taken]
        if verb == "show":
            return Answer(stdout="\n".join(self._show(call, unit) for unit in units))
        if verb in ("is-active", "is-enabled"):
            return self._is(verb, units)
        if verb == "is-system-running":
            return Answer(stdout="running\n")
        if verb == "poweroff":
            return await self._power_off(call)
        if verb in ("stop", "start", "restart") and units:
            return await self._change(call, verb, units)
        return self._shell.unknown(call.text, f"systemctl {verb}: not simulated")

    def _show(self, call: Call, unit: str) -> str:
        service = self._state.service(unit)
        active, sub = _STATES[service.status] if service else ("inactive", "dead")
        values = {
            "Id": unit if "." in unit else f"{unit}.service",
            "LoadState": "loaded" if service else "not-found",
            "ActiveState": active,
            "SubState": sub,
            "UnitFileState": "" if service is None else "enabled" if service.enabled else "disabled",
            "Result": "success",
            "MainPID": "1234" if active == "active" else "0",
        }
        names = [name for name in _properties(call) if name in values] or list(values)
        bare = "--value" in call.args
        return "".join(f"{values[name]}\n" if bare else f"{name}={values[name]}\n" for name in names)

    def _is(self, verb: str, units: list[str]) -> Answer:
        services = [self._state.service(unit) for unit in units]
        if verb == "is-enabled":
            words = ["enabled" if service and service.enabled else "disabled" for service in services]
            return Answer(0 if "enabled" in words else 1, "\n".join(words) + "\n")
        words = [_STATES[service.status][0] if service else "inactive" for service in services]
        code = 0 if "active" in words else 3 if any(services) else 4
        return Answer(code, "\n".join(words) + "\n")

    async def _change(self, call: Call, verb: str, units: list[str]) -> Answer:
        if not call.root:
            return Answer(1, stderr=f"Failed to {verb} {units[0]}: Interactive authentication required.\n")
        for unit in units:
            service = self._state.service(unit)
            if service is None:
                self._world.journal.write(self._shell.machine, f"{verb} {unit}", "missing")
                full = unit if "." in unit else f"{unit}.service"
                return Answer(5, stderr=f"Failed to {verb} {full}: Unit {full} not loaded.\n")
            await self._carry_out(verb, service, wait="--no-block" not in call.args)
        return Answer()

    async def _carry_out(self, verb: str, service: Service, *, wait: bool) -> None:
        for step in ("stop", "start") if verb == "restart" else (verb,):
            self._begin(step, service)
            if wait:
                await self._world.until(lambda: service.status not in ("starting", "stopping"))

    def _begin(self, verb: str, service: Service) -> Effect:
        act = self._world.stop_service if verb == "stop" else self._world.start_service
        return act(self._shell.machine, service.name)

    async def _service(self, call: Call) -> Answer:
        if call.argv[0] == "service" and not call.root:
            # As on Debian, whose sshd gives others than root no /usr/sbin in PATH.
            return Answer(127, stderr="env: 'service': No such file or directory\n")
        words = call.plain()
        if len(words) != 2 or words[1] not in ("stop", "start", "status", "restart"):
            return self._shell.unknown(call.text, "service: not simulated")
        service = self._state.service(words[0])
        if service is None:
            return Answer(1, stderr=f"{words[0]}: unrecognized service\n")
        if words[1] == "status":
            # An init script looks for the process, which is there while it still starts.
            running = service.status in ("starting", "running", "stopping")
            return Answer(0 if running else 3, f"{service.name} is {'running' if running else 'stopped'}\n")
        if not call.root:
            return _NOT_ALLOWED
        await self._carry_out(words[1], service, wait=True)
        return Answer()

    async def _shutdown(self, call: Call) -> Answer:
        if "now" not in call.args and "+0" not in call.args:
            return self._shell.unknown(call.text, "shutdown: only an immediate one is simulated")
        return await self._power_off(call)

    async def _power_off(self, call: Call) -> Answer:
        if not call.root:
            return _NOT_ALLOWED
        await self._world.look_first()
        self._world.shut_down(self._shell.machine)
        return Answer()


def _properties(call: Call) -> list[str]:
    named = []
    for position, word in enumerate(call.args):
        if word.startswith(("--property=", "-p=")):
            named += word.partition("=")[2].split(",")
        elif word in ("-p", "--property") and position + 1 < len(call.args):
            named += call.args[position + 1].split(",")
    return named
