"""A small mail server for tests: real SMTP over real sockets, with STARTTLS, a login, and answers told beforehand."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast


@dataclass
class MailServer:
    """Takes mail on a free port of loopback.

    Attributes:
        tls: of the server's certificate; None: it offers no STARTTLS.
        from_the_start: TLS without STARTTLS.
        login: user and password it takes; None: it offers no login.
        answers: what it answers to a command, instead of doing it; by the beginning of the line.
        silent: it accepts connections and says nothing.
    """

    tls: ssl.SSLContext | None = None
    from_the_start: bool = False
    login: tuple[str, str] | None = None
    answers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    taken: list[EmailMessage] = field(default_factory=list)
    heard: list[tuple[str, bool]] = field(default_factory=list)
    """Each line, and whether it came by TLS."""
    port: int = 0
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> MailServer:
        context = self.tls if self.from_the_start else None
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for talk in tuple(self._talks):
            talk.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(_Talk(self, reader, writer).run())
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)


@dataclass
class _Talk:
    """One connection."""

    server: MailServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def run(self) -> None:
        try:
            if self.server.silent:
                await asyncio.Event().wait()
            await self._say("220 test.example ESMTP")
            while (line := await self._line()) and await self._answer(line):
                pass
        except (ConnectionError, ssl.SSLError):
            return  # as any client may end it
        finally:
            self.writer.close()

    @property
    def _encrypted(self) -> bool:
        return self.writer.get_extra_info("ssl_object") is not None

    async def _line(self) -> str:
        line = (await self.reader.readline()).decode().strip()
        self.server.heard.append((line, self._encrypted))
        return line

    async def _say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def _answer(self, line: str) -> bool:
        told = next(
            (answer for start, answer in self.server.answers.items() if line.upper().startswith(start.upper())), None
        )
        if told is not None:
            await self._say(told)
            return True
        verb = line.split(maxsplit=1)[0].upper()
        if verb == "EHLO":
            await self._say(*self._greeting())
        elif verb == "STARTTLS":
            await self._say("220 go ahead")
            await self.writer.start_tls(cast(ssl.SSLContext, self.server.tls))
        elif verb == "AUTH":
            await self._say("235 welcome" if self._knows(line) else "535 5.7.8 no")
        elif verb == "DATA":
            await self._take()
        else:
            await self._say("221 bye" if verb == "QUIT" else "250 OK")
        return verb != "QUIT"

    def _greeting(self) -> list[str]:
        offers = ["test.example"]
        if self.server.tls is not None and not self._encrypted:
            offers.append("STARTTLS")
        if self.server.login is not None:
            offers.append("AUTH PLAIN")
        return [*(f"250-{offer}" for offer in offers), "250 8BITMIME"]

    def _knows(self, line: str) -> bool:
        said = base64.b64decode(line.split()[2]).decode().split("\0")
        return tuple(said[1:]) == self.server.login

    async def _take(self) -> None:
        await self._say("354 end with a dot")
        content = await self.reader.readuntil(b"\r\n.\r\n")
        parsed = message_from_bytes(content.removesuffix(b".\r\n"), policy=policy.default)
        self.server.taken.append(parsed)
        await self._say(self.server.answers.get("<message>", "250 taken"))
