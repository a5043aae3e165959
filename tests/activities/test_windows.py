from __future__ import annotations

import asyncio
import base64
import inspect
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

import pytest
import requests.exceptions
import requests_ntlm.requests_ntlm
import spnego.exceptions
import winrm.exceptions
from aiohttp import web

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.windows import CALLS, Windows
from activities.windows_trouble import KINDS, translated
from activities.windows_wire import MAX_ANSWER
from lab.certificates import CertificateAuthority
from lab.listening import Endpoint, HttpListener
from lab.winrm import CommandResult, WinRmServer
from procedure.instructions import WindowsCommand, WindowsServiceAction, WindowsShutdown
from tests.activities.windows_server import ADDRESS, MACHINE, PASSWORD, WindowsSite, WindowsWithServices

LISTENER = "jtel Platform UDP Listener"
STOP = WindowsServiceAction(machine=MACHINE, service="robot5", action="stop")
START = WindowsServiceAction(machine=MACHINE, service="robot5", action="start")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def machine() -> WindowsWithServices:
    return WindowsWithServices({"robot5": ("8-Server", 4), "jtelUDP": (LISTENER, 1)})


@pytest.fixture
def site(tmp_path: Path, authority: CertificateAuthority, machine: WindowsWithServices) -> WindowsSite:
    return WindowsSite(tmp_path, authority, machine)


@pytest.fixture
async def server(site: WindowsSite) -> AsyncIterator[WinRmServer]:
    server = site.server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def windows(site: WindowsSite, server: WinRmServer) -> AsyncIterator[Windows]:
    windows = Windows(site.inventory(server.endpoint.port))
    yield windows
    await windows.close()


async def _act(windows: Windows, instruction: object) -> str:
    return await windows.actors()[type(instruction)](instruction)


async def test_what_a_library_logs_in_a_thread_is_about_the_step(
    windows: Windows, caplog: pytest.LogCaptureFixture
) -> None:
    step: ContextVar[str] = ContextVar("step", default="none")
    seen: set[str] = set()

    def note(_: logging.LogRecord) -> bool:
        seen.add(step.get())
        return True

    caplog.handler.addFilter(note)
    step.set("stop robot5")
    try:
        with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
            await _act(windows, STOP)
    finally:
        caplog.handler.removeFilter(note)
    assert "urllib3.connectionpool" in {record.name for record in caplog.records}
    assert seen == {"stop robot5"}


# --- ways in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("https", "transport"), [(True, "ntlm"), (True, "basic"), (False, "ntlm")])
async def test_every_way_in(site: WindowsSite, https: bool, transport: str) -> None:
    site.https = https
    site.transport = "ntlm" if transport == "ntlm" else "basic"
    server = site.server()
    await server.start()
    windows = Windows(site.inventory(server.endpoint.port))
    assert (await windows.service(MACHINE, "robot5")).state == "running"
    assert server.open_shells == 0
    await windows.close()
    await server.stop()


async def test_basic_over_http_is_refused_before_anything_is_sent(site: WindowsSite) -> None:
    site.https, site.transport = False, "basic"
    with pytest.raises(Rejected, match="Basic over HTTP would send the password in clear"):
        await Windows(site.inventory(9)).service(MACHINE, "robot5")


async def test_proxies_and_authorities_of_the_environment_are_ignored(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    assert (await windows.service(MACHINE, "robot5")).state == "running"


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
async def test_a_wrong_password_is_rejected_and_not_repeated(
    site: WindowsSite, server: WinRmServer, transport: str
) -> None:
    site.transport = "ntlm" if transport == "ntlm" else "basic"
    with pytest.raises(Rejected, match="credentials were rejected") as refused:
        await Windows(site.inventory(server.endpoint.port, password="wrong-secret")).service(MACHINE, "robot5")
    assert "wrong-secret" not in f"{refused.value!r} {refused.value.__cause__!r}"
    assert PASSWORD not in str(refused.value)


async def test_a_certificate_of_a_stranger_is_rejected(
    site: WindowsSite, server: WinRmServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = CertificateAuthority(tmp_path_factory.mktemp("stranger"))
    with pytest.raises(Rejected, match="certificate") as refused:
        await Windows(site.inventory(server.endpoint.port, ca=stranger.ca_file)).service(MACHINE, "robot5")
    assert "`ca` of its connection" in refused.value.next_step


async def test_a_certificate_for_another_name_is_rejected(site: WindowsSite) -> None:
    server = site.server(address="127.77.2.99")
    await server.start()
    with pytest.raises(Rejected, match="certificate"):
        await Windows(site.inventory(server.endpoint.port)).service(MACHINE, "robot5")
    await server.stop()


async def test_authorities_that_are_not_there_are_named(site: WindowsSite, server: WinRmServer) -> None:
    with pytest.raises(Rejected, match="/nowhere"):
        await Windows(site.inventory(server.endpoint.port, ca=Path("/nowhere"))).service(MACHINE, "robot5")


async def test_a_closed_port_is_transient(site: WindowsSite) -> None:
    with socket.socket() as unused:
        unused.bind(("127.77.2.11", 0))
        with pytest.raises(Transient, match=r"`Get-Service 'robot5'`: \[Errno 111\] Connection refused Next: check"):
            await Windows(site.inventory(unused.getsockname()[1])).service(MACHINE, "robot5")


async def test_something_else_on_the_port_is_not_understood(site: WindowsSite) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    site.https = False
    listener = await asyncio.start_server(web, "127.77.2.11", 0)
    with pytest.raises(NotUnderstood, match=r"no answer of WinRM|unexpected|Encrypt"):
        await Windows(site.inventory(listener.sockets[0].getsockname()[1])).service(MACHINE, "robot5")
    listener.close()


@pytest.mark.parametrize(("https", "transport"), [(True, "ntlm"), (True, "basic"), (False, "ntlm")])
async def test_the_password_is_nowhere(
    site: WindowsSite, https: bool, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.https, site.transport = https, "ntlm" if transport == "ntlm" else "basic"
    caplog.set_level(0)
    server = site.server()
    await server.start()
    windows = Windows(site.inventory(server.endpoint.port))
    await windows.service(MACHINE, "robot5")
    basic = base64.b64encode(f"{site.user}:{PASSWORD}".encode()).decode()
    assert all(secret not in caplog.text for secret in (PASSWORD, repr(PASSWORD), basic))
    await windows.close()
    await server.stop()


# --- services ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "state"), [(1, "stopped"), (2, "starting"), (3, "stopping"), (4, "running"), (5, "starting")]
)
@pytest.mark.parametrize("name", ["robot5", "ROBOT5", "8-Server"])
async def test_states_by_key_name_or_display_name(
    windows: Windows, machine: WindowsWithServices, name: str, number: int, state: str
) -> None:
    machine.services["robot5"] = ("8-Server", number)
    assert (await windows.service(MACHINE, name)).state == state


@pytest.mark.parametrize("number", [0, 6, 7, 8])
async def test_a_state_that_is_neither_is_unknown(windows: Windows, machine: WindowsWithServices, number: int) -> None:
    machine.services["robot5"] = ("8-Server", number)
    with pytest.raises(NotUnderstood, match=f"in state {number}"):
        await windows.service(MACHINE, "robot5")


async def test_a_service_that_is_not_there_is_missing(windows: Windows) -> None:
    assert (await windows.service(MACHINE, "jtel TAPI service")).state == "missing"


async def test_a_key_name_wins_over_a_display_name(windows: Windows, machine: WindowsWithServices) -> None:
    machine.services = {"other": ("robot5", 1), "robot5": ("8-Server", 4)}
    assert (await windows.service(MACHINE, "robot5")).state == "running"


async def test_a_name_that_fits_two_services_is_not_guessed(windows: Windows, machine: WindowsWithServices) -> None:
    machine.services = {"one": (LISTENER, 1), "two": (LISTENER, 4)}
    with pytest.raises(NotUnderstood, match="fits several services: one, two"):
        await windows.service(MACHINE, LISTENER)


@pytest.mark.parametrize(("services", "hidden"), [({}, 0), ({"other": ("Other", 4)}, 3)])
async def test_an_account_that_sees_nothing_proves_nothing(
    windows: Windows, machine: WindowsWithServices, services: dict[str, tuple[str, int]], hidden: int
) -> None:
    machine.services, machine.hidden = services, hidden
    with pytest.raises(Rejected, match="does not see all services"):
        await windows.service(MACHINE, "robot5")


@pytest.mark.parametrize("text", ["", "Running", "{}", '{"services": 3, "seen": 1, "hidden": 0}', "[]"])
async def test_an_answer_of_another_form_is_unknown(windows: Windows, machine: WindowsWithServices, text: str) -> None:
    machine.prints = text
    with pytest.raises(NotUnderstood):
        await windows.service(MACHINE, "robot5")


@pytest.mark.parametrize(("instruction", "number"), [(STOP, 0), (STOP, 1062), (START, 0), (START, 1056)])
async def test_a_service_is_acted_upon(
    windows: Windows, machine: WindowsWithServices, instruction: WindowsServiceAction, number: int
) -> None:
    machine.exits = number
    assert await _act(windows, instruction) == f"sc.exe {instruction.action} robot5: {number}"
    assert f"sc.exe {instruction.action} " in machine.ran[-1][1][0]


@pytest.mark.parametrize("number", [5, 1051, 1058, 1060])
async def test_a_refusal_of_the_service_manager_is_not_repeated(
    windows: Windows, machine: WindowsWithServices, number: int
) -> None:
    machine.exits = number
    with pytest.raises(Rejected, match=rf"error {number}"):
        await _act(windows, STOP)


async def test_a_busy_service_is_tried_again(windows: Windows, machine: WindowsWithServices) -> None:
    machine.exits = 1061
    with pytest.raises(Transient, match="error 1061"):
        await _act(windows, STOP)


async def test_a_missing_service_is_not_acted_upon(windows: Windows) -> None:
    with pytest.raises(Rejected, match="there is no service 'nothing'"):
        await _act(windows, WindowsServiceAction(machine=MACHINE, service="nothing", action="stop"))


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_a_command_and_its_answer(windows: Windows, machine: WindowsWithServices) -> None:
    machine.result = CommandResult(stdout="läuft\r\n".encode(), stderr=b"!", exit_code=3)
    completed = await windows.run(MACHINE, ["C:\\failover\\Acd Group.cmd", "status", "a b"])
    assert machine.ran == [("C:\\failover\\Acd Group.cmd", ["status", "a b"])]
    assert (completed.exit_status, completed.stdout, completed.stderr) == (3, "läuft\r\n", "!")


@pytest.mark.parametrize("word", ['a"b', "%PATH%", "a&b", "a|b", "a>b", "a^b", "!x!", "a\tb"])
async def test_words_that_cmd_would_change_are_not_sent(
    windows: Windows, machine: WindowsWithServices, word: str
) -> None:
    with pytest.raises(Rejected, match=r"cmd\.exe would not hand on"):
        await windows.run(MACHINE, ["echo", word])
    assert not machine.ran


async def test_output_is_bounded(windows: Windows, machine: WindowsWithServices) -> None:
    machine.result = CommandResult(stdout=b"x" * 200_000)
    completed = await windows.run(MACHINE, ["type", "log"])
    assert (len(completed.stdout), completed.truncated) == (65536, True)


async def test_a_command_that_fails_is_tried_again_and_one_that_is_missing_is_not(
    windows: Windows, machine: WindowsWithServices
) -> None:
    machine.result = CommandResult(exit_code=1)
    with pytest.raises(Transient, match="exit 1"):
        await _act(windows, WindowsCommand(machine=MACHINE, argv=("x.cmd", "start")))
    machine.result = CommandResult(exit_code=9009)
    with pytest.raises(Rejected, match="exit 9009"):
        await _act(windows, WindowsCommand(machine=MACHINE, argv=("x.cmd", "start")))


async def test_shutdown(windows: Windows, machine: WindowsWithServices) -> None:
    await _act(windows, WindowsShutdown(machine=MACHINE))
    assert machine.ran == [("shutdown", ["/s", "/t", "0"])]
    machine.result = CommandResult(exit_code=5)
    with pytest.raises(Rejected):
        await _act(windows, WindowsShutdown(machine=MACHINE))
    machine.result = CommandResult(exit_code=1115)
    assert "1115" in await _act(windows, WindowsShutdown(machine=MACHINE))


async def test_a_machine_that_vanishes_while_it_shuts_down(
    windows: Windows, machine: WindowsWithServices, server: WinRmServer
) -> None:
    machine.hangs = True
    acting = asyncio.create_task(_act(windows, WindowsShutdown(machine=MACHINE)))
    await machine.started.wait()
    await server.stop()
    assert await acting == "no answer, the connection ended"


async def test_a_machine_that_is_off_is_not_taken_for_shut_down(windows: Windows, server: WinRmServer) -> None:
    await server.stop()
    with pytest.raises(Transient):
        await _act(windows, WindowsShutdown(machine=MACHINE))


async def test_a_linux_machine_has_no_winrm(windows: Windows) -> None:
    with pytest.raises(Rejected, match="is not WinRM"):
        await windows.run("acd-jb1", ["true"])


# --- time-outs and cancelling -----------------------------------------------------------------------------------------


async def test_a_command_that_hangs_is_unknown_and_ended(
    site: WindowsSite, server: WinRmServer, machine: WindowsWithServices
) -> None:
    machine.hangs = True
    windows = Windows(site.inventory(server.endpoint.port, command="1s"))
    with pytest.raises(Transient, match=r"x\.cmd`: no answer within 1 s"):
        await windows.run(MACHINE, ["x.cmd"])
    await asyncio.wait_for(machine.ended.wait(), 5)
    assert server.open_shells == 0
    await windows.close()


async def test_a_cancelled_command_is_ended(
    site: WindowsSite, server: WinRmServer, machine: WindowsWithServices
) -> None:
    machine.hangs = True
    windows = Windows(site.inventory(server.endpoint.port, command="1s"))
    running = asyncio.create_task(windows.run(MACHINE, ["x.cmd"]))
    await machine.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(machine.ended.wait(), 5)
    await windows.close()


async def test_a_machine_that_hangs_is_unknown(site: WindowsSite, server: WinRmServer) -> None:
    windows = Windows(site.inventory(server.endpoint.port, connect="300ms", command="500ms"))
    server.gate.close()
    with pytest.raises(Transient, match="timed out"):
        await windows.service(MACHINE, "robot5")
    server.gate.open()
    await windows.close()


class Dripping:
    """Answers one byte after the other, without end."""

    def __init__(self) -> None:
        self.cut = asyncio.Event()
        self.full = asyncio.Event()
        self.calls = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        if self.calls == CALLS:
            self.full.set()
        dropping = asyncio.create_task(self._drop(writer))
        while await reader.read(4096):
            pass
        dropping.cancel()
        self.cut.set()
        writer.close()

    async def _drop(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_machine_that_answers_drop_by_drop_is_cut_off(site: WindowsSite, cancelled: bool) -> None:
    site.https = False
    dripping = Dripping()
    listener = await asyncio.start_server(dripping, ADDRESS, 0)
    windows = Windows(site.inventory(listener.sockets[0].getsockname()[1], connect="100ms", command="200ms"))
    calls = [asyncio.create_task(windows.run(MACHINE, ["x.cmd"])) for _ in range(CALLS + 1)]
    if cancelled:
        await dripping.full.wait()
        for call in calls[:-1]:
            call.cancel()
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*calls, return_exceptions=True)
        await dripping.cut.wait()
    # The last one came to its turn, which it can only when a thread has ended.
    assert [type(each) for each in ended[:-1]] == [asyncio.CancelledError if cancelled else Transient] * CALLS
    assert type(ended[-1]) is Transient
    assert dripping.calls > CALLS
    await windows.close()
    listener.close()


async def test_an_answer_without_end_is_not_kept(site: WindowsSite) -> None:
    async def serve(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * (MAX_ANSWER + 1))

    site.transport = "basic"
    listener = HttpListener(Endpoint(ADDRESS), serve, tls=site.authority.issue(ADDRESS).server_context())
    await listener.start()
    windows = Windows(site.inventory(listener.endpoint.port))
    with pytest.raises(NotUnderstood, match="more than 4000000 bytes"):
        await windows.run(MACHINE, ["x.cmd"])
    await windows.close()
    await listener.stop()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (winrm.exceptions.WSManFaultError(500, "", "", "Access is denied.", wsman_fault_code=5), Rejected),
        (winrm.exceptions.WinRMTransportError("http", 403, ""), Rejected),
        (winrm.exceptions.WinRMTransportError("http", 503, ""), Transient),
        (winrm.exceptions.WinRMTransportError("http", 404, ""), NotUnderstood),
        (requests.exceptions.SSLError("EOF occurred in violation of protocol"), Transient),
        (requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate has expired"), Rejected),
    ],
)
def test_what_a_class_alone_does_not_tell(error: Exception, kind: type[SystemTrouble]) -> None:
    assert type(translated(MACHINE, "tried", error)) is kind


# --- every exception is known -----------------------------------------------------------------------------------------


def _exceptions(*modules: ModuleType) -> Iterator[type[Exception]]:
    for module in modules:
        for _, found in inspect.getmembers(module, inspect.isclass):
            if not issubclass(found, Exception) or issubclass(found, Warning):
                continue
            if found.__module__.split(".")[0] in {"winrm", "requests", "requests_ntlm", "spnego"}:
                yield found


LIBRARIES = (winrm.exceptions, requests.exceptions, requests_ntlm.requests_ntlm, spnego.exceptions)


@pytest.mark.parametrize("exception", sorted(set(_exceptions(*LIBRARIES)), key=str))
def test_every_exception_of_the_libraries_is_known(exception: type[Exception]) -> None:
    own = next((cls for cls in exception.__mro__ if cls in KINDS), None)
    assert own, f"{exception.__name__} would end a step instead of being told"
    assert own.__module__.split(".")[0] in {"winrm", "requests", "spnego", "urllib3"}, own


@pytest.mark.parametrize("exception", KINDS)
def test_every_exception_is_translated(exception: type[Exception]) -> None:
    error = exception.__new__(exception)
    if isinstance(error, winrm.exceptions.WSManFaultError):
        error.reason, error.wsman_fault_code = "busy", 2150859174
    trouble = translated(MACHINE, "tried", error)
    assert isinstance(trouble, SystemTrouble)
    assert type(trouble) is KINDS[exception][0]
    assert "tried" in str(trouble)
