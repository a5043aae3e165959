"""E-mail, against a real mail server: what it gets, TLS and login, and what its answers mean."""

from __future__ import annotations

import inspect
import smtplib
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from activities.errors import NotUnderstood, Permanent, Rejected, SystemTrouble, Transient
from activities.mail import CAUGHT, message, send, translated
from inventory.models import Timings
from inventory.notifications import Email
from lab.certificates import CertificateAuthority
from tests.activities.mail_server import MailServer
from tests.activities.notices import LINK, NOTICE, SECRET, TIMINGS

USER = "failover"


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", SECRET)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path)


def context(authority: CertificateAuthority) -> ssl.SSLContext:
    return authority.issue("127.0.0.1").server_context()


def email(server: MailServer, **changes: object) -> Email:
    return Email.model_validate(
        {
            "kind": "email",
            "name": "operators",
            "host": "127.0.0.1",
            "port": server.port,
            "security": "none",
            "sender": "failover@example.com",
            "to": ["ann@example.com", "bert@example.com"],
            **changes,
        }
    )


def with_login(server: MailServer, authority: CertificateAuthority, **changes: object) -> Email:
    access = {"security": "starttls", "ca": str(authority.ca_file), "user": USER, "password": "env:MAIL_PASSWORD"}
    return email(server, **{**access, **changes})


async def test_what_arrives() -> None:
    async with MailServer() as server:
        assert await send(email(server), NOTICE, LINK, TIMINGS) == "taken by 127.0.0.1 for 2 receivers"
    (mail,) = server.taken
    assert mail["Subject"] == f"[reference] {NOTICE.headline}"
    assert (mail["From"], mail["To"]) == ("failover@example.com", "ann@example.com, bert@example.com")
    assert mail["Message-ID"] == "<run-1.7.operators@example.com>"
    assert mail["References"] == "<run-1@example.com>"
    assert (mail["Auto-Submitted"], mail["X-Failover-Event"]) == ("auto-generated", "problem")
    text = mail.get_content()
    for part in (NOTICE.details, NOTICE.next_step, LINK):
        assert part in text
    receivers = [line for line, _ in server.heard if line.upper().startswith("RCPT")]
    assert len(receivers) == 2


def test_the_same_notice_is_the_same_message_and_no_text_becomes_a_header() -> None:
    target = email(MailServer(port=25), name="n" * 63)
    evil = NOTICE.model_copy(update={"headline": "a\r\nBcc: eve@example.com\n\nb – ü", "run_id": "r" * 200})
    first, second = message(target, evil, LINK), message(target, evil, LINK)
    assert first.as_bytes() == second.as_bytes()
    assert first["Bcc"] is None
    assert "Bcc: eve" in first["Subject"]
    assert f"Message-ID: <run-1.7.{'n' * 63}@example.com>".encode() in first.as_bytes()


async def test_templates_of_ones_own() -> None:
    async with MailServer() as server:
        await send(email(server, subject="$event in $cluster", text="$headline"), NOTICE, LINK, TIMINGS)
    assert server.taken[0]["Subject"] == "problem in reference"
    assert server.taken[0].get_content().strip() == NOTICE.headline


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_login_goes_by_tls_alone(security: str, authority: CertificateAuthority) -> None:
    async with MailServer(tls=context(authority), from_the_start=security == "tls", login=(USER, SECRET)) as server:
        await send(with_login(server, authority, security=security), NOTICE, LINK, TIMINGS)
    assert len(server.taken) == 1
    by_tls = {line.split()[0].upper(): encrypted for line, encrypted in server.heard if line}
    assert by_tls["AUTH"]
    assert by_tls["MAIL"]
    assert SECRET not in server.taken[0].as_string()


async def trouble_of(target: Email, timings: Timings = TIMINGS) -> SystemTrouble:
    with pytest.raises(SystemTrouble) as caught:
        await send(target, NOTICE, LINK, timings)
    assert caught.value.machine == "mail server of operators"
    assert caught.value.next_step
    assert caught.value.__cause__ is None
    assert SECRET not in str(caught.value)
    return caught.value


async def test_a_certificate_that_is_not_trusted(authority: CertificateAuthority) -> None:
    async with MailServer(tls=context(authority), login=(USER, SECRET)) as server:
        trouble = await trouble_of(with_login(server, authority, ca=None))
    assert isinstance(trouble, Rejected)
    assert "its certificate is not trusted" in trouble.seen
    assert not any(line.startswith("AUTH") for line, _ in server.heard)


async def test_a_server_without_starttls_gets_nothing(authority: CertificateAuthority) -> None:
    async with MailServer(login=(USER, SECRET)) as server:
        trouble = await trouble_of(with_login(server, authority))
    assert type(trouble) is Permanent
    assert "STARTTLS" in trouble.seen
    assert not any(line.startswith(("AUTH", "MAIL")) for line, _ in server.heard)


async def test_a_login_that_is_refused(authority: CertificateAuthority) -> None:
    async with MailServer(tls=context(authority), login=(USER, "another")) as server:
        trouble = await trouble_of(with_login(server, authority))
        assert isinstance(trouble, Rejected)
        server.answers["AUTH"] = f"454 4.7.0 later, {SECRET}"
        assert isinstance(await trouble_of(with_login(server, authority)), Transient)


async def test_a_password_that_no_mail_server_could_get(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", f"{SECRET}-ü")
    async with MailServer(tls=context(authority), login=(USER, SECRET)) as server:
        assert isinstance(await trouble_of(with_login(server, authority)), Rejected)


@pytest.mark.parametrize(
    ("command", "answer", "kind"),
    [
        ("MAIL", "550 5.7.1 sender not allowed", Permanent),
        ("MAIL", "451 4.3.0 try later", Transient),
        ("RCPT", "550 5.1.1 no such user", Permanent),
        ("RCPT", "450 4.2.0 greylisted", Transient),
        ("RCPT TO:<bert", "550 5.1.1 no such user", Permanent),
        ("RCPT TO:<bert", "450 4.2.0 greylisted", Transient),
        ("DATA", "554 no", Permanent),
        ("DATA", "451 later", Transient),
        ("<message>", "552 too large", Permanent),
        ("<message>", "452 disk full", Transient),
    ],
)
async def test_what_an_answer_means(command: str, answer: str, kind: type[SystemTrouble]) -> None:
    async with MailServer(answers={command: answer}) as server:
        trouble = await trouble_of(email(server))
    assert type(trouble) is kind
    assert answer.split(maxsplit=1)[0] in trouble.seen


async def test_nobody_there() -> None:
    async with MailServer() as server:
        target = email(server)
    assert isinstance(await trouble_of(target), Transient)


@pytest.fixture
def threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("mail"):
            thread.join(5)
            assert not thread.is_alive(), "a mail server that hangs keeps a thread"


async def test_one_that_hangs_is_given_up_with_its_thread(threads: None) -> None:
    async with MailServer(silent=True) as server:
        patient = Timings(connect=timedelta(seconds=60), command=timedelta(milliseconds=300))
        assert isinstance(await trouble_of(email(server), patient), Transient)


async def test_one_that_speaks_no_smtp(authority: CertificateAuthority) -> None:
    async with MailServer() as server:
        trouble = await trouble_of(with_login(server, authority, security="tls"))
    assert isinstance(trouble, Transient)
    assert "no TLS" in trouble.seen


EXPECTED: dict[str, type[SystemTrouble]] = {
    "SMTPException": NotUnderstood,
    "SMTPNotSupportedError": Permanent,
    "SMTPServerDisconnected": Transient,
    "SMTPResponseException": Permanent,
    "SMTPSenderRefused": Permanent,
    "SMTPRecipientsRefused": Permanent,
    "SMTPDataError": Permanent,
    "SMTPConnectError": Permanent,
    "SMTPHeloError": Permanent,
    "SMTPAuthenticationError": Rejected,
}
EXCEPTIONS = {
    name: kind
    for name, kind in vars(smtplib).items()
    if inspect.isclass(kind) and issubclass(kind, smtplib.SMTPException)
}


def test_the_table_holds_every_exception_of_smtplib() -> None:
    assert set(EXPECTED) == set(EXCEPTIONS)


def made(kind: type[smtplib.SMTPException]) -> smtplib.SMTPException:
    if kind is smtplib.SMTPRecipientsRefused:
        return smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"no")})
    if kind is smtplib.SMTPSenderRefused:
        return smtplib.SMTPSenderRefused(550, b"no", "failover@example.com")
    return kind(550, b"no") if issubclass(kind, smtplib.SMTPResponseException) else kind("no")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_is_mapped(name: str) -> None:
    error = made(EXCEPTIONS[name])
    assert isinstance(error, CAUGHT)
    assert type(translated("mail server", error)) is EXPECTED[name]
