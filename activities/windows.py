"""WinRM: services, commands and shutdown of Windows machines.

pywinrm blocks, so each call runs in one of few threads, with a connection and a remote shell of its own (pywinrm is
not thread-safe). A connection whose call ended well is kept for the next one for a while (`windows_ways.py`): to log
in takes most of the time and work of a call, and an entry in the machine's security log.

A thread can't be killed: what bounds it are the time-outs of its requests, and a call that is cancelled or out of time
is given up within `RECEIVE`, when its remote command is terminated and its shell closed. What still runs then, because
the machine answers drop by drop, is cut off: its connections are shut down from outside.

With HTTPS the certificate is always verified. Over plain HTTP messages are always encrypted, which NTLM can and Basic
can't: Basic over HTTP is refused. Proxies and certificate settings of the worker's environment are ignored.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests
from winrm.exceptions import WinRMOperationTimeoutError, WinRMTransportError
from winrm.protocol import Protocol

from activities import powershell
from activities.completed import Completed
from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.hands import Act, Observe
from activities.secrets import resolve
from activities.windows_trouble import ACCESS_DENIED, CAUGHT, translated
from activities.windows_ways import KeptWays, Way
from inventory.models import Inventory, WinRmConnection
from procedure.facts import ComponentFact
from procedure.instructions import WindowsCommand, WindowsServiceAction, WindowsShutdown

KEEP = 65536
"""Bytes kept of each of stdout and stderr."""
THREADS = 8
"""Calls at the same time, on all machines: a service of each telephony machine and some to spare."""
CALLS = 4
"""Calls at the same time on one machine: WinRM allows 5 shells to a user where it was never configured."""
RECEIVE = timedelta(seconds=5)
"""How long one request waits for output before it asks again, and so how soon a call is given up."""
SERVICE_STATES = {1: "stopped", 2: "starting", 3: "stopping", 4: "running", 5: "starting"}
"""ServiceControllerStatus of .NET. 6 and 7 (pause pending, paused) are neither running nor stopped: not understood."""
COMMAND_NOT_FOUND = 9009
"""What cmd.exe answers for a command it can't find."""
_ALREADY = {"start": 1056, "stop": 1062}
"""ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_NOT_ACTIVE."""
_REFUSED = {
    ACCESS_DENIED: "access denied",
    1051: "other services that run depend on it",
    1058: "it is disabled",
    1060: "there is no such service",
}
_GOING_DOWN = (1115, 1190)
"""ERROR_SHUTDOWN_IN_PROGRESS, ERROR_SHUTDOWN_IS_SCHEDULED."""
_HANGS = "look at its console: it may hang, or have more to do than it can"
# What cmd.exe would not hand on as it is. Everything else is quoted below.
_NOT_FOR_CMD = re.compile(r'["%&|<>^!\x00-\x1f]')
_PLAIN = re.compile(r"[A-Za-z0-9_.:\\/-]+")


@dataclass(frozen=True)
class _Target:
    name: str
    url: str
    connection: WinRmConnection


class Windows:
    """Runs commands on the Windows machines of an inventory, and sees and controls their services."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="winrm")
        self._calls: dict[str, asyncio.Semaphore] = {}
        self._places = asyncio.Semaphore(THREADS)
        self._ways = KeptWays()

    async def run(self, machine: str, argv: Sequence[str], *, detached: bool = False) -> Completed:
        """Run a command and wait for it, at most `timings.command`.

        Args:
            machine: a machine with a WinRM connection.
            argv: its words. Words that cmd.exe would change on their way are refused.
            detached: the connection may end before it answers.

        Raises:
            Transient: no connection, or nobody knows whether it was done.
            Rejected: credentials or certificate refuse.
            NotUnderstood: what answers is not WinRM.
        """
        return await self._run(machine, [_quoted(machine, word) for word in argv], " ".join(argv), detached)

    async def service(self, machine: str, service: str) -> ComponentFact:
        """State of a service, found by key name or else by display name.

        Raises:
            SystemTrouble: it can't be told.
        """
        answer = await self._script(machine, powershell.state_of(service), f"Get-Service '{service}'")
        found = answer["services"]
        if not found:
            return ComponentFact(state="missing", detail=f"no service has the name or display name '{service}'")
        number = found[0]["status"]
        if number not in SERVICE_STATES:
            raise NotUnderstood(machine, f"service '{service}' is in state {number}", "a person has to look at it")
        return ComponentFact.model_validate({"state": SERVICE_STATES[number], "detail": found[0]["name"]})

    def observers(self) -> dict[type[Any], Observe]:
        """None: what is seen through WinRM belongs to other systems."""
        return {}

    def actors(self) -> dict[type[Any], Act]:
        """Services, commands, shutdown."""
        return {
            WindowsServiceAction: self._control_service,
            WindowsCommand: self._carry_out,
            WindowsShutdown: self._shut_down,
        }

    async def close(self) -> None:
        """Take no more calls; those that run end by their time-outs."""
        self._ways.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _control_service(self, instruction: WindowsServiceAction) -> str:
        machine, service, action = instruction.machine, instruction.service, instruction.action
        answer = await self._script(machine, powershell.act_on(service, action), instruction.text)
        if not answer["services"]:
            raise Rejected(machine, f"there is no service '{service}'", "correct the component's service")
        number = answer["exit"]
        if number in _REFUSED:
            raise Rejected(machine, f"`{instruction.text}`: {_REFUSED[number]} (error {number})", "correct that there")
        if number not in (0, _ALREADY[action]):
            raise Transient(machine, f"`{instruction.text}`: error {number} of the service manager")
        return f"sc.exe {action} {answer['services'][0]['name']}: {number}"

    async def _carry_out(self, instruction: WindowsCommand) -> str:
        completed = await self.run(instruction.machine, instruction.argv)
        if completed.exit_status == COMMAND_NOT_FOUND:
            raise Rejected(instruction.machine, f"`{instruction.text}`: {completed.words}", "install the command there")
        if not completed.ok:
            raise Transient(instruction.machine, f"`{instruction.text}`: {completed.words}")
        return completed.words

    async def _shut_down(self, instruction: WindowsShutdown) -> str:
        completed = await self.run(instruction.machine, ["shutdown", "/s", "/t", "0"], detached=True)
        if completed.exit_status == ACCESS_DENIED:
            raise Rejected(instruction.machine, f"`{instruction.text}`: {completed.words}", "let the account do it")
        if completed.exit_status not in (0, None, *_GOING_DOWN):
            raise Transient(instruction.machine, f"`{instruction.text}`: {completed.words}")
        return completed.words

    async def _script(self, machine: str, script: str, title: str) -> dict[str, Any]:
        completed = await self._run(machine, powershell.words(script), title, detached=False)
        return _services(completed)

    async def _run(self, machine: str, argv: Sequence[str], title: str, detached: bool) -> Completed:
        # The target is looked up and the secret read before a thread is taken.
        target = self._target(machine)
        password = resolve(target.connection.password, machine).get_secret_value()
        call = _Call(lambda: Way(self._protocol(target, password)), argv, self._inventory.timings.command)
        working = await self._begun(machine, password, call)
        try:
            async with asyncio.timeout(self._longest().total_seconds()):
                # Shielded: the thread goes on, and its place is free only when it has ended.
                status, out, err = await asyncio.shield(working)
        except asyncio.CancelledError:
            # One that has ended has given its connection back.
            if not working.done():
                call.given_up.set()
                # Time to end its remote command in order, then no more.
                asyncio.get_running_loop().call_later(self._request().total_seconds(), call.cut)
            raise
        except TimeoutError as error:
            if not working.done():
                call.cut()
            raise Transient(machine, f"`{title}`: no answer within {self._longest().seconds} s", _HANGS) from error
        except _CallError as error:
            if detached and call.sent and isinstance(error.cause, OSError):
                return Completed(machine, title, None, "", "")
            raise _trouble(machine, title, call, error.cause) from error.cause
        truncated = len(out) > KEEP or len(err) > KEEP
        return Completed(machine, title, status, _text(out), _text(err), truncated)

    async def _begun(self, machine: str, password: str, call: _Call) -> asyncio.Future[tuple[int, bytes, bytes]]:
        """The call, in a thread of its own. Its places are given back when the thread has ended, not before."""
        with ExitStack() as places:
            for place in (self._calls.setdefault(machine, asyncio.Semaphore(CALLS)), self._places):
                await place.acquire()
                places.callback(place.release)
            call.goes(self._ways.take(machine, password))
            # With the context: what a library logs in there is about this step.
            working = asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call)
            held = places.pop_all()

        def ended(done: asyncio.Future[tuple[int, bytes, bytes]]) -> None:
            held.close()
            # The exception is looked at also should nobody wait for it any more.
            well = not done.cancelled() and done.exception() is None
            if well and call.in_order and not call.given_up.is_set():
                self._ways.keep(machine, call.way)
            else:
                call.way.close()

        working.add_done_callback(ended)
        return working

    def _request(self) -> timedelta:
        """The longest that one request of a call should take."""
        return min(RECEIVE, self._inventory.timings.command) + self._inventory.timings.connect

    def _longest(self) -> timedelta:
        """For a whole call: its command, and the requests before and after.

        Time-outs between two bytes alone would let a machine that answers drop by drop hold it for ever.
        """
        return self._inventory.timings.command + 4 * self._request()

    def _target(self, name: str) -> _Target:
        machine = self._inventory.machine(name)
        way = self._inventory.connections[machine.connection]
        if not isinstance(way, WinRmConnection):
            raise Rejected(name, f"its connection {machine.connection} is not WinRM", "give it a WinRM connection")
        if way.transport == "basic" and not way.https:
            raise Rejected(name, "Basic over HTTP would send the password in clear", "use HTTPS, or NTLM")
        address = f"[{machine.address}]" if ":" in machine.address else machine.address
        return _Target(name, f"http{'s' * way.https}://{address}:{machine.port or way.port}/wsman", way)

    def _protocol(self, target: _Target, password: str) -> Protocol:
        way, timings = target.connection, self._inventory.timings
        wait = max(1, math.ceil(min(RECEIVE, timings.command).total_seconds()))
        patience = timings.connect.total_seconds()
        protocol = Protocol(
            endpoint=target.url,
            transport=way.transport,
            username=way.user,
            password=password,
            ca_trust_path=way.ca or _system_authorities(),
            server_cert_validation="validate",
            message_encryption="auto" if way.https else "always",
            operation_timeout_sec=wait,
            read_timeout_sec=wait + math.ceil(patience),
            proxy=None,
        )
        # Given to requests as it is, which takes a pair: to connect, and between two bytes of an answer.
        protocol.transport.read_timeout_sec = (patience, wait + patience)  # type: ignore[assignment]  # see above
        return protocol


class _CallError(Exception):
    """What a call ended with. Some exceptions (StopIteration) can't leave a thread by themselves."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class _Call:
    """One command on one machine, in one thread."""

    def __init__(self, make: Callable[[], Way], argv: Sequence[str], limit: timedelta) -> None:
        self._make = make
        self._argv = argv
        self.limit = limit
        self.way: Way
        self.given_up = threading.Event()
        self.sent = False
        self.in_order = False
        """Whether all of it went well, so that its connection can serve another call."""

    def goes(self, kept: Way | None) -> None:
        """It goes by a connection that was kept, or by one of its own."""
        self.way = kept or self._make()

    def cut(self) -> None:
        """End it from outside, whatever it waits for."""
        self.given_up.set()
        self.way.wire.cut()

    def __call__(self) -> tuple[int, bytes, bytes]:
        """Exit status, stdout and stderr.

        Raises:
            _CallError: with the cause.
        """
        try:
            return self._carried_out()
        except CAUGHT as error:
            raise _CallError(error) from error

    def _carried_out(self) -> tuple[int, bytes, bytes]:
        shell = self._opened_shell()
        protocol = self.way.protocol
        self.sent = True
        command = protocol.run_command(shell, self._argv[0], self._argv[1:])
        answer = self._received(shell, command)
        # Deleting the shell also ends a command that was given up. An answer that is there stays one if this fails.
        with suppress(*CAUGHT):
            if answer is None:
                protocol.cleanup_command(shell, command)
            protocol.close_shell(shell, close_session=False)
            self.in_order = answer is not None and self.way.wire.connections == 1
        if answer is None:
            raise TimeoutError
        return answer

    def _opened_shell(self) -> str:
        try:
            return self._shell()
        except (requests.ConnectionError, WinRMTransportError) as error:
            # What was kept may have ended meanwhile; no command has begun yet.
            if not self.way.used or isinstance(error, requests.Timeout) or self.given_up.is_set():
                raise
        self.way.close()
        self.way = self._make()
        # Given up in between, it was the old one that was cut off.
        if self.given_up.is_set():
            self.way.wire.cut()
        return self._shell()

    def _shell(self) -> str:
        shell: str = self.way.protocol.open_shell(noprofile=True, codepage=65001)
        return shell

    def _received(self, shell: str, command: str) -> tuple[int, bytes, bytes] | None:
        """None: out of time, or given up."""
        out, err = bytearray(), bytearray()
        deadline = time.monotonic() + self.limit.total_seconds()
        while time.monotonic() < deadline and not self.given_up.is_set():
            with suppress(WinRMOperationTimeoutError):
                more_out, more_err, status, done = self.way.protocol.get_command_output_raw(shell, command)
                _keep(out, more_out)
                _keep(err, more_err)
                if done:
                    return status, bytes(out), bytes(err)
        return None


def _keep(kept: bytearray, more: bytes) -> None:
    # One byte more than is kept tells that there was more.
    kept += more[: KEEP + 1 - len(kept)]


def _text(content: bytes) -> str:
    return content[:KEEP].decode(errors="replace")


def _trouble(machine: str, title: str, call: _Call, cause: Exception) -> SystemTrouble:
    if type(cause) is TimeoutError:
        seconds = call.limit.total_seconds()
        return Transient(machine, f"`{title}`: no answer within {seconds:g} s", _HANGS)
    return translated(machine, f"`{title}`", cause)


def _quoted(machine: str, word: str) -> str:
    if _NOT_FOR_CMD.search(word):
        raise Rejected(machine, f"{word!r} has characters that cmd.exe would not hand on", 'avoid "%&|<>^! there')
    if _PLAIN.fullmatch(word):
        return word
    # A backslash before the closing quote would take it for its own.
    return f'"{word}"' if not word.endswith("\\") else f'"{word}\\"'


def _system_authorities() -> str:
    """The certificate authorities of the worker's system; requests would use a list of its own."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or paths.openssl_cafile


def _services(completed: Completed) -> dict[str, Any]:
    """The answer of a script about services.

    Raises:
        Rejected: the account doesn't see the services.
        NotUnderstood: it is not what the scripts print, or the name fits more than one service.
    """
    try:
        answer = json.loads(completed.stdout)
        found, seen, hidden = list(answer["services"] or ()), int(answer["seen"]), int(answer["hidden"])
        [(str(service["name"]), int(service["status"])) for service in found]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise NotUnderstood(completed.machine, f"`{completed.command}`: {completed.words}") from error
    if len(found) > 1:
        names = ", ".join(service["name"] for service in found)
        raise NotUnderstood(completed.machine, f"`{completed.command}` fits several services: {names}", "name one")
    if not found and (not seen or hidden):
        hint = "let the account see all services (it has to be an administrator)"
        raise Rejected(completed.machine, f"`{completed.command}`: the account does not see all services", hint)
    return {**answer, "services": found}
