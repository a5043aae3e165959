"""WS-Management of a Windows remote shell: open, command, send, receive, signal, delete, and its faults.

Sources: [MS-WSMV] sections 3.1.4 (messages) and 2.2.4 (types); fault codes from the Windows SDK's wsmerror.h.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
_SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
_TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
_RESOURCE = f"{_SHELL}/cmd"
_NAMES = {"s": _SOAP, "a": _ADDRESSING, "w": _WSMAN, "rsp": _SHELL}

# ERROR_WSMAN_OPERATION_TIMEDOUT: what a Receive without output ends with; clients then ask again.
FAULT_TIMED_OUT = 2150858793
# ERROR_WSMAN_INVALID_SELECTORS: the shell (or command) named does not exist, or no longer.
FAULT_NO_SUCH_SHELL = 2150858843
# ERROR_WSMAN_ACTION_NOT_SUPPORTED.
FAULT_NO_SUCH_ACTION = 2150858771
# ERROR_WSMAN_SCHEMA_VALIDATION_ERROR: the message is not what the schema wants.
FAULT_BAD_MESSAGE = 2150858817

# Raw bytes of each stream in one answer, so that it stays below MaxEnvelopeSize (153600) after base64.
_CHUNK_BYTES = 48 * 1024
# What the service uses when the request names no OperationTimeout.
_DEFAULT_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class CommandResult:
    """What a finished command left: both streams as bytes and its exit code."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0


class WindowsMachine(Protocol):
    """The world behind a WinRM server: runs a command on the simulated machine."""

    async def run(self, command: str, arguments: list[str], stdin: bytes) -> CommandResult:
        """Run to the end. `powershell -encodedcommand` comes as command `powershell`, arguments `[script text]`.

        It is cancelled when the client signals termination or deletes the shell, and when the server stops.
        """


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a SOAP envelope."""

    status: int
    envelope: bytes


class _FaultError(Exception):
    def __init__(self, code: int, subcode: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.subcode, self.reason = code, subcode, reason


@dataclass(frozen=True)
class _Request:
    action: str
    message_id: str
    shell_id: str
    timeout: float
    body: ET.Element

    def element(self, name: str) -> ET.Element:
        found = self.body.find(f"rsp:{name}", _NAMES)
        if found is None:
            raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", f"The message has no {name}.")
        return found


_Action = Callable[[_Request], Awaitable[str]]


@dataclass
class _Command:
    """One command of a shell: its input until it starts, its task, and how much output was fetched."""

    identity: str
    line: tuple[str, list[str]]
    stdin: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[CommandResult] | None = None
    sent: int = 0


class ShellService:
    """The remote shells of one machine."""

    def __init__(self, machine: WindowsMachine) -> None:
        self._machine = machine
        self._shells: dict[str, dict[str, _Command]] = {}
        self._actions: dict[str, _Action] = {
            f"{_TRANSFER}/Create": self._create,
            f"{_TRANSFER}/Delete": self._delete,
            f"{_SHELL}/Command": self._command,
            f"{_SHELL}/Send": self._send,
            f"{_SHELL}/Receive": self._receive,
            f"{_SHELL}/Signal": self._signal,
        }

    @property
    def open_shells(self) -> int:
        """How many shells were opened and not closed."""
        return len(self._shells)

    async def answer(self, envelope: bytes) -> Answer:
        """Carry out one request. Faults are answers of status 500, as the real service gives them."""
        message_id = ""
        try:
            request = _parse(envelope)
            message_id = request.message_id
            body = await self._action(request)(request)
        except _FaultError as fault:
            return Answer(500, _fault_envelope(message_id, fault))
        return Answer(200, _envelope(f"{request.action}Response", message_id, body))

    async def end(self) -> None:
        """End all shells and their commands, as the end of the service would."""
        shells, self._shells = self._shells, {}
        commands = [command for shell in shells.values() for command in shell.values()]
        await _cancel([command.task for command in commands])

    def _action(self, request: _Request) -> _Action:
        try:
            return self._actions[request.action]
        except KeyError:
            reason = "The WS-Management service does not support the action specified in the request."
            raise _FaultError(FAULT_NO_SUCH_ACTION, "a:ActionNotSupported", reason) from None

    async def _create(self, _: _Request) -> str:
        shell_id = str(uuid.uuid4()).upper()
        self._shells[shell_id] = {}
        return (
            f"<x:ResourceCreated><a:Address>http://localhost/wsman</a:Address><a:ReferenceParameters>"
            f"<w:ResourceURI>{_RESOURCE}</w:ResourceURI>"
            f'<w:SelectorSet><w:Selector Name="ShellId">{shell_id}</w:Selector></w:SelectorSet>'
            f"</a:ReferenceParameters></x:ResourceCreated>"
            f"<rsp:Shell><rsp:ShellId>{shell_id}</rsp:ShellId><rsp:ResourceUri>{_RESOURCE}</rsp:ResourceUri>"
            f"<rsp:InputStreams>stdin</rsp:InputStreams>"
            f"<rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>"
        )

    async def _delete(self, request: _Request) -> str:
        shell = self._shell(request)
        del self._shells[request.shell_id]
        await _cancel([command.task for command in shell.values()])
        return ""

    async def _command(self, request: _Request) -> str:
        shell = self._shell(request)
        line = request.element("CommandLine")
        program = line.findtext("rsp:Command", "", _NAMES)
        arguments = [argument.text or "" for argument in line.findall("rsp:Arguments", _NAMES)]
        command = _Command(identity=str(uuid.uuid4()).upper(), line=command_line(" ".join([program, *arguments])))
        shell[command.identity] = command
        if not reads_input(*command.line):
            self._start(command)
        return f"<rsp:CommandResponse><rsp:CommandId>{command.identity}</rsp:CommandId></rsp:CommandResponse>"

    async def _send(self, request: _Request) -> str:
        stream = request.element("Send").find("rsp:Stream", _NAMES)
        if stream is None:
            raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "The message has no Stream.")
        command = self._find(request, stream)
        try:
            command.stdin += base64.b64decode(stream.text or "", validate=True)
        except binascii.Error as error:
            raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "The stream is no base64.") from error
        if stream.get("End", "").lower() == "true":
            self._start(command)
        return "<rsp:SendResponse/>"

    async def _receive(self, request: _Request) -> str:
        desired = request.element("Receive").find("rsp:DesiredStream", _NAMES)
        if desired is None:
            raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "The message has no DesiredStream.")
        command = self._find(request, desired)
        if command.task is not None:
            await asyncio.wait([command.task], timeout=request.timeout)
        elif request.timeout:
            # It waits for input that has not come; the client may send it meanwhile on another connection.
            await asyncio.sleep(request.timeout)
        if command.task is None or not command.task.done():
            reason = "The WS-Management service cannot complete the operation within the time specified."
            raise _FaultError(FAULT_TIMED_OUT, "w:TimedOut", reason)
        return _output(command, _result(command.task))

    async def _signal(self, request: _Request) -> str:
        command = self._find(request, request.element("Signal"))
        await _cancel([command.task])
        self._shell(request).pop(command.identity, None)
        return "<rsp:SignalResponse/>"

    def _start(self, command: _Command) -> None:
        if command.task is None:
            program, arguments = command.line
            running = self._machine.run(program, arguments, bytes(command.stdin))
            command.task = asyncio.ensure_future(running)

    def _shell(self, request: _Request) -> dict[str, _Command]:
        try:
            return self._shells[request.shell_id]
        except KeyError:
            reason = (
                "The request for the Windows Remote Shell with ShellId "
                f"{request.shell_id} failed because the shell was not found on the server."
            )
            raise _FaultError(FAULT_NO_SUCH_SHELL, "w:InvalidSelectors", reason) from None

    def _find(self, request: _Request, element: ET.Element) -> _Command:
        identity = element.get("CommandId", "")
        try:
            return self._shell(request)[identity]
        except KeyError:
            reason = f"The command with CommandId {identity} was not found in the shell."
            raise _FaultError(FAULT_NO_SUCH_SHELL, "w:InvalidSelectors", reason) from None


def command_line(text: str) -> tuple[str, list[str]]:
    """Split a command line as cmd does, double quotes respected, and decode PowerShell's `-encodedcommand`."""
    words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s"]+)', text)]
    if not words:
        return "", []
    if _is_powershell(words[0]):
        for flag, value in itertools.pairwise(words):
            # Every unambiguous abbreviation of -EncodedCommand is accepted, and -ec.
            if re.fullmatch(r"[-/](e|ec|en[codemand]*)", flag, re.IGNORECASE):
                return "powershell", [_decode_script(value)]
    return words[0], words[1:]


def reads_input(command: str, arguments: list[str]) -> bool:
    """Whether a command waits for its standard input, so that it starts only when the client has ended that."""
    interactive = _is_powershell(command) or command.lower() in ("cmd", "cmd.exe")
    return (interactive and not arguments) or (bool(arguments) and arguments[-1] == "-")


def clixml_error(text: str) -> bytes:
    """Standard error as PowerShell writes it to a remote shell: a CLIXML document, line by line."""
    lines = "".join(f'<S S="Error">{escape(line)}_x000D__x000A_</S>' for line in text.splitlines())
    namespace = "http://schemas.microsoft.com/powershell/2004/04"
    return f'#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="{namespace}">{lines}</Objs>'.encode()


def _is_powershell(program: str) -> bool:
    name = re.split(r"[\\/]", program.lower())[-1]
    return name.removesuffix(".exe") in ("powershell", "pwsh")


def _decode_script(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "Cannot decode the command.") from error


def _parse(envelope: bytes) -> _Request:
    try:
        root = ET.fromstring(envelope)
    except ET.ParseError as error:
        raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "The envelope is no XML.") from error
    header, body = root.find("s:Header", _NAMES), root.find("s:Body", _NAMES)
    if header is None or body is None:
        raise _FaultError(FAULT_BAD_MESSAGE, "w:SchemaValidationError", "Not a SOAP envelope.")
    return _Request(
        action=header.findtext("a:Action", "", _NAMES),
        message_id=header.findtext("a:MessageID", "", _NAMES),
        shell_id=header.findtext("w:SelectorSet/w:Selector[@Name='ShellId']", "", _NAMES),
        timeout=_duration_seconds(header.findtext("w:OperationTimeout", "", _NAMES)),
        body=body,
    )


def _duration_seconds(text: str) -> float:
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", text)
    if match is None:
        return _DEFAULT_TIMEOUT_SECONDS
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _result(task: asyncio.Task[CommandResult]) -> CommandResult:
    if task.cancelled():
        # STATUS_CONTROL_C_EXIT, what a terminated Windows program leaves.
        return CommandResult(exit_code=-1073741510)
    return task.result()


def _output(command: _Command, result: CommandResult) -> str:
    start, command.sent = command.sent, command.sent + _CHUNK_BYTES
    streams = "".join(
        _stream(name, command.identity, data[start : command.sent], last=len(data) <= command.sent)
        for name, data in (("stdout", result.stdout), ("stderr", result.stderr))
        if start == 0 or data[start:]
    )
    finished = command.sent >= max(len(result.stdout), len(result.stderr))
    state = f"{_SHELL}/CommandState/{'Done' if finished else 'Running'}"
    exit_code = f"<rsp:ExitCode>{result.exit_code}</rsp:ExitCode>" if finished else ""
    return (
        f'<rsp:ReceiveResponse>{streams}<rsp:CommandState CommandId="{command.identity}" State="{state}">'
        f"{exit_code}</rsp:CommandState></rsp:ReceiveResponse>"
    )


def _stream(name: str, command_id: str, data: bytes, *, last: bool) -> str:
    end = ' End="true"' if last else ""
    return f'<rsp:Stream Name="{name}" CommandId="{command_id}"{end}>{base64.b64encode(data).decode()}</rsp:Stream>'


def _envelope(action: str, relates_to: str, body: str) -> bytes:
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{_SOAP}" xmlns:a="{_ADDRESSING}" xmlns:x="{_TRANSFER}"'
        f' xmlns:w="{_WSMAN}" xmlns:rsp="{_SHELL}"><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{_ADDRESSING}/role/anonymous</a:To><a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def _fault_envelope(relates_to: str, fault: _FaultError) -> bytes:
    detail = (
        '<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"'
        f' Code="{fault.code}" Machine="localhost"><f:Message>{escape(fault.reason)}</f:Message></f:WSManFault>'
    )
    body = (
        "<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode>"
        f"<s:Value>{escape(fault.subcode)}</s:Value></s:Subcode></s:Code>"
        f"<s:Reason><s:Text xml:lang={quoteattr('en-US')}>{escape(fault.reason)}</s:Text></s:Reason>"
        f"<s:Detail>{detail}</s:Detail></s:Fault>"
    )
    return _envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", relates_to, body)


async def _cancel(tasks: list[asyncio.Task[CommandResult] | None]) -> None:
    # A command may itself be what stops the machine: it is left to finish, it can't wait for its own end.
    running = [task for task in tasks if task is not None and not task.done() and task is not asyncio.current_task()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
