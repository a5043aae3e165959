#!/usr/bin/python3
"""The software of an application machine: pages over HTTP, and database sessions through the load balancer.

A small real service in place of Wildfly, chat server and REST API: it is started and stopped by systemd, takes its
time, is checked by HAProxy, keeps sessions open in the database, and writes there for each page that is asked for. It
runs on the hosts of the real lab, where only Debian's Python is.

    service.py SETTINGS.json
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pymysql

_TRY_AGAIN_SECONDS = 0.5
_ANSWER_SECONDS = 5
_LINE_SECONDS = 0.25


def main() -> None:
    """Serve until systemd says that it is enough."""
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    time.sleep(settings["start_seconds"])
    # For all threads that begin from here on, so that none of them takes away what this one waits for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    database = Database(settings["database"])
    servers = [Server(port, pages, database, settings["name"]) for port, pages in settings["ports"].items()]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    tell_systemd("READY=1")
    # Not a handler that sets an event: under load it was seen that nobody woke the one who waited for it.
    signal.sigwait({signal.SIGTERM})
    for server in servers:
        server.socket.close()
    time.sleep(settings["stop_seconds"])
    database.close()


class Database:
    """Sessions that stay open, and are opened again when they break."""

    def __init__(self, settings: dict[str, Any] | None) -> None:
        self._settings = settings or {}
        self._sessions: queue.Queue[Any] = queue.Queue()
        self._closed = False
        for _ in range(self._settings.get("sessions", 0)):
            threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        while not self._closed:
            with contextlib.suppress(pymysql.Error, OSError):
                self._sessions.put(
                    pymysql.connect(
                        host=self._settings["address"],
                        port=self._settings["port"],
                        user=self._settings["user"],
                        password=self._settings["password"],
                        database=self._settings["schema"],
                        autocommit=True,
                        connect_timeout=_ANSWER_SECONDS,
                        read_timeout=_ANSWER_SECONDS,
                        write_timeout=_ANSWER_SECONDS,
                    )
                )
                return
            time.sleep(_TRY_AGAIN_SECONDS)

    def note(self, who: str) -> str | None:
        """Write that a page was asked for. Returns the server that has taken it; None: no session works now."""
        if not self._settings:
            return None
        try:
            session = self._sessions.get(timeout=0.2)
        except queue.Empty:
            return None
        try:
            with session.cursor() as cursor:
                cursor.execute("INSERT INTO calls (who, server) VALUES (%s, @@server_id)", (who,))
                cursor.execute("SELECT @@hostname")
                server: str = cursor.fetchone()[0]
        except (pymysql.Error, OSError):
            threading.Thread(target=self._open, daemon=True).start()
            return None
        self._sessions.put(session)
        return server

    def close(self) -> None:
        """End all sessions in order."""
        self._closed = True
        while not self._sessions.empty():
            with contextlib.suppress(pymysql.Error, OSError):
                self._sessions.get_nowait().close()


class Server(ThreadingHTTPServer):
    """Answers on one port."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: str, pages: dict[str, Any], database: Database, name: str) -> None:
        self.pages, self.database, self.name = pages, database, name
        super().__init__(("0.0.0.0", int(port)), Handler)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A page, or an agent's session: /agent?seconds=N."""
        path, _, query = self.path.partition("?")
        if path == "/agent":
            self._hold(float(query.partition("=")[2]))
            return
        status, text = self.server.pages.get(path, (200, "ok"))
        if path != "/health":
            server = self.server.database.note(self.server.name)
            # An application without its database is of no use to a caller.
            status, text = (status, f"{text} {server}") if server else (503, "no database")
        body = f"{text} {self.server.name}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hold(self, seconds: float) -> None:
        """A line now and then, and one at the end: who never sees that one was cut off."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        until = time.monotonic() + seconds
        with contextlib.suppress(OSError):  # The agent has hung up.
            while time.monotonic() < until:
                self.wfile.write(b"working\n")
                time.sleep(_LINE_SECONDS)
            self.wfile.write(b"end\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def tell_systemd(what: str) -> None:
    """Say something to the service manager; sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.sendall(what.encode())


if __name__ == "__main__":
    main()
