"""E-mail: one message to a mail server, TLS verified, every error mapped.

The library of Python blocks, so each message has a thread of its own: one that hangs takes nothing from the steps.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from pydantic import SecretStr

from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient, shortened
from activities.secrets import resolve
from activities.web import tls_context
from inventory.models import Timings
from inventory.notifications import Email
from inventory.values import Tls
from procedure.notices import Notice, one_line, written

CAUGHT: Final = (smtplib.SMTPException, OSError, UnicodeError)
"""The roots of all exceptions of smtplib and of what is below it; a test keeps them complete."""
POLICY: Final = SMTP.clone(max_line_length=998)
"""As long as a line may be (RFC 5322): a long Message-ID must not be broken in two."""


async def send(target: Email, notice: Notice, link: str, timings: Timings) -> str:
    """Send a notice, once.

    Returns:
        What became of it, in words.

    Raises:
        SystemTrouble: not everybody will get it, or nobody knows.
    """
    service = f"mail server of {target.name}"
    context = tls_context(service, Tls(ca=target.ca)) if target.security != "none" else None
    password = resolve(target.password, service) if target.password else None
    delivery = _Delivery(target, message(target, notice, link), context, password, timings.connect.total_seconds())
    try:
        async with asyncio.timeout(timings.command.total_seconds()):
            await _in_a_thread(delivery)
    except CAUGHT as error:
        # Without the cause: it may hold what was sent.
        raise translated(service, error) from None
    finally:
        delivery.cut()
    return f"taken by {target.host} for {len(target.to)} receivers"


def message(target: Email, notice: Notice, link: str) -> EmailMessage:
    """The message. Sent again it has the same identity, by which mail systems show it once."""
    domain = target.sender.rpartition("@")[2]
    made = EmailMessage(policy=POLICY)
    made["From"] = Address(addr_spec=target.sender)
    made["To"] = tuple(Address(addr_spec=receiver) for receiver in target.to)
    made["Subject"] = one_line(written(target.subject, notice, link))
    made["Date"] = notice.at
    made["Message-ID"] = f"<{notice.id}.{target.name}@{domain}>"
    # All messages of a run hang together.
    made["References"] = f"<{notice.run_id}@{domain}>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Failover-Event"] = notice.event.value
    made.set_content(written(target.text, notice, link) + "\n")
    return made


@dataclass
class _Delivery:
    """One message on its way."""

    target: Email
    message: EmailMessage
    context: ssl.SSLContext | None
    password: SecretStr | None
    timeout: float
    """Seconds, for each answer of the server."""
    server: smtplib.SMTP | None = field(default=None, init=False)
    """As soon as there is a connection that could hang."""

    def __call__(self) -> None:
        """Hand it over. Blocks.

        Raises:
            SMTPException, OSError, UnicodeError: not everybody will get it.
        """
        with self._connected() as server:
            if self.target.user and self.password:
                server.login(self.target.user, self.password.get_secret_value())
            refused = server.send_message(self.message, self.target.sender, list(self.target.to))
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)

    def _connected(self) -> smtplib.SMTP:
        if self.target.security == "tls":
            return _Encrypted(self)
        server = _Plain(self)
        if self.target.security == "starttls":
            server.starttls(context=self.context)
        return server

    def cut(self) -> None:
        """End what is still under way: a server that answers drop by drop would hold the thread."""
        sock = self.server.sock if self.server else None
        if sock is not None:
            try:
                # The one below TLS: the thread is still at work with the one above.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it has ended meanwhile


# The library connects while a server is made, and may hang there already: so each is known before.
class _Plain(smtplib.SMTP):
    def __init__(self, delivery: _Delivery) -> None:
        delivery.server, target = self, delivery.target
        super().__init__(target.host, target.used_port, timeout=delivery.timeout)


class _Encrypted(smtplib.SMTP_SSL):
    def __init__(self, delivery: _Delivery) -> None:
        delivery.server, target = self, delivery.target
        super().__init__(target.host, target.used_port, timeout=delivery.timeout, context=delivery.context)


async def _in_a_thread(delivery: _Delivery) -> None:
    thread = ThreadPoolExecutor(1, thread_name_prefix="mail")
    try:
        await asyncio.get_running_loop().run_in_executor(thread, delivery)
    finally:
        thread.shutdown(wait=False)


def translated(service: str, error: Exception) -> SystemTrouble:
    """This room's trouble for an exception of smtplib, or of the network below it."""
    if isinstance(error, smtplib.SMTPException):
        return _of_the_server(service, error)
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"its certificate is not trusted: {error.verify_message}"
        return Rejected(service, words, "check its certificate, its name, and the authority (ca) in the inventory")
    if isinstance(error, UnicodeError):
        # Without its words, which repeat what could not be written: the password.
        return Rejected(service, "user or password hold other characters than ASCII", "use others there")
    if isinstance(error, ssl.SSLError):
        return Transient(service, f"no TLS: {error.reason or type(error).__name__}", "check `port` and `security`")
    words = f"{type(error).__name__}: {shortened(str(error))}" if str(error) else type(error).__name__
    return Transient(service, words, "check that it runs and can be reached")


def _of_the_server(service: str, error: smtplib.SMTPException) -> SystemTrouble:
    if isinstance(error, smtplib.SMTPAuthenticationError):
        # Its words may repeat what was sent.
        words, hint = f"the login is refused (status {error.smtp_code})", "check user and password in the inventory"
        return (Transient if _is_temporary(error.smtp_code) else Rejected)(service, words, hint)
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _refused(service, error)
    if isinstance(error, smtplib.SMTPResponseException):
        words, hint = f"status {error.smtp_code} {_text(error.smtp_error)}", "look at its log; check `sender`"
        return (Transient if _is_temporary(error.smtp_code) else Permanent)(service, words, hint)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return Transient(service, shortened(str(error)), "check that it runs, and `port` and `security`")
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return Permanent(service, shortened(str(error)), "check `security`, `user` and `password`")
    return NotUnderstood(service, shortened(str(error)) or type(error).__name__, "check host and port")


def _refused(service: str, error: smtplib.SMTPRecipientsRefused) -> SystemTrouble:
    answers = error.recipients
    words = "; ".join(f"{receiver}: status {code} {_text(said)}" for receiver, (code, said) in answers.items())
    # Who got it may get it twice, with the same identity: better than that another one never gets it.
    temporary = all(_is_temporary(code) for code, _ in answers.values())
    return (Transient if temporary else Permanent)(service, f"not taken for {words}", "check `to` in the inventory")


def _is_temporary(code: int) -> bool:
    """4yz: the same may be accepted later (RFC 5321, section 4.2.1). 0 and below: no answer was understood."""
    return code < 500


def _text(said: bytes | str) -> str:
    return shortened(said.decode(errors="replace") if isinstance(said, bytes) else said, 200)
