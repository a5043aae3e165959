"""A run that really tells: the product's hands, a real web service, a real mail server, and no secret anywhere."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from temporalio.client import Client

from activities.notifications import NotificationActivities
from inventory.models import Inventory
from inventory.notifications import Email, Event, Notifications, Webhook
from lab.listening import Endpoint, HttpListener
from procedure.orders import NotifyOrder
from procedure.reports import RunOutcome
from tests.activities.mail_server import MailServer
from tests.lab.secret_search import found_in
from tests.workflows.driving import own, running
from tests.workflows.paper_world import PaperWorld
from worker.logs import QUIET

SECRET = "hunter2-never-shown"
CHANNEL = "B0000-never-shown"
WEB_UI = "https://temporal.example/"


class Hook:
    """Answers with what it was told to, and with success when that is used up."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[dict[str, str]] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.got.append(json.loads(await request.read()))
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, text=f"what stands at {request.path}")


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
async def address(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    listener = HttpListener(Endpoint("127.0.0.1"), hook)
    await listener.start()
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("CHANNEL", f"http://{listener.endpoint}/{CHANNEL}")
    yield f"http://{listener.endpoint}/hook"
    await listener.stop()


class TellingWorld(PaperWorld):
    """The cluster is on paper, who is told is not."""

    def _notify(self) -> Callable[[NotifyOrder], Awaitable[str]]:
        return NotificationActivities(self.inventory, WEB_UI).notify


def telling(reference: Inventory, *targets: Webhook | Email) -> TellingWorld:
    return TellingWorld(own(reference, notifications=Notifications(targets=targets)))


async def test_a_whole_run_tells_by_webhook_and_by_mail(
    client: Client, reference: Inventory, hook: Hook, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for library in QUIET:  # as a worker keeps them: they would log each address
        caplog.set_level(logging.WARNING, logger=library)
    hook.statuses = [503, 429]
    async with MailServer() as server:
        mail = Email(
            name="operators",
            host="127.0.0.1",
            port=server.port,
            security="none",
            sender="failover@example.com",
            to=("operators@example.com",),
            events=(Event.END,),
        )
        world = telling(
            reference,
            Webhook(name="on-call", url=address, secret="env:WEBHOOK_SECRET"),
            Webhook(name="channel", url="env:CHANNEL", events=(Event.END,)),
            mail,
        )
        async with running(client, world) as run:
            await run.at_gate("before_start")
            await run.until(lambda _: len(hook.got) == 3)
            await run.approve_all()
            report = await run.result()
            history = (await run.handle.fetch_history()).to_json()

    assert report.outcome is RunOutcome.COMPLETED
    assert report.notes == ()
    assert [told["event"] for told in hook.got] == ["gate"] * 5 + ["end"] * 2
    assert len({told["id"] for told in hook.got[:3]}) == 1, "each try is of the same notice"
    link = f"https://temporal.example/namespaces/{client.namespace}/workflows/{report.workflow_id}/{report.run_id}/timeline"
    assert hook.got[0]["link"] == link
    (sent,) = server.taken
    assert sent["Subject"] == f"[{world.inventory.cluster}] Failover ended: completed"
    assert link in sent.get_content()
    places = {"history": history.encode(), "log": caplog.text.encode(), "mail": sent.as_bytes()}
    places["webhook"] = json.dumps(hook.got).encode()
    assert found_in(places, [SECRET, CHANNEL]) == []


async def test_what_is_refused_is_asked_once(
    client: Client, reference: Inventory, hook: Hook, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses = [400] * 9
    world = telling(reference, Webhook(name="channel", url="env:CHANNEL"), Webhook(name="on-call", url=address))
    async with running(client, world) as run:
        await run.at_gate("before_start")
        status = await run.until(lambda s: len(s.notes) == 2)
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        report = await run.result()
        history = (await run.handle.fetch_history()).to_json()
    assert any("webhook on-call was not told of 1 thing" in note and "status 400" in note for note in status.notes)
    assert len(hook.got) == 4, "the gate and the end, once for each target"
    assert len(report.notes) == 2
    places = {"history": history.encode(), "log": caplog.text.encode(), "notes": str(report.notes).encode()}
    assert found_in(places, [CHANNEL]) == []


async def test_a_worker_that_knows_no_such_target(client: Client, reference: Inventory) -> None:
    world = telling(reference, Webhook(name="on-call", url="https://hooks.example.com"))
    other = world.inventory.model_copy(update={"notifications": Notifications()})
    world._notify = lambda: NotificationActivities(other).notify  # type: ignore[method-assign]  # a worker of another inventory
    async with running(client, world) as run:
        await run.at_gate("before_start")
        status = await run.until(lambda s: s.notes)
        await run.say("abort", {"by": "ada", "reason": "not tonight"})
        await run.result()
    assert "has no such target" in status.notes[0]
