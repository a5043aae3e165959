"""Webhooks: a JSON object by POST, signed, over a connection that nobody can read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from typing import Final

import httpx

from activities.errors import Rejected
from activities.secrets import resolve
from activities.web import beginning, client, extensions, refuse_status, translating
from inventory.checks.common import split_address
from inventory.checks.notifications import is_private
from inventory.models import Timings
from inventory.notifications import Webhook
from inventory.values import SECRET_REFERENCE
from procedure.notices import Notice, written

SIGNATURE: Final = "X-Failover-Signature"
"""`t=` the time of sending in seconds since 1970, `v1=` the HMAC-SHA256 of that time, a dot, and the body."""
EVENT: Final = "X-Failover-Event"
ID: Final = "X-Failover-Id"
"""The same for each try of the same notice."""
MAX_ANSWER: Final = 2000
"""Bytes that are read of an answer: only the status counts, the words are for the message."""


async def post(target: Webhook, notice: Notice, link: str, timings: Timings) -> str:
    """Send a notice, once.

    Returns:
        What the service answered, in words.

    Raises:
        SystemTrouble: it was not taken, or nobody knows.
    """
    service = f"webhook {target.name}"
    url = _address(target, service)
    content = body(target, notice, link)
    headers = {"Content-Type": "application/json", EVENT: notice.event.value, ID: notice.id}
    if target.secret:
        headers[SIGNATURE] = signature(resolve(target.secret, service).get_secret_value(), int(time.time()), content)
    # Without the address: that of a chat's channel is a secret.
    asked = f"POST of the {notice.event.value}"
    with translating(service, asked):
        # In all: the client's own time-outs are for each part of an answer, which may come drop by drop.
        async with asyncio.timeout(timings.command.total_seconds()):
            answer = await _answer(
                target, service, httpx.Request("POST", url, headers=headers, content=content), timings
            )
    refuse_status(service, asked, answer)
    return f"status {answer.status_code}"


async def _answer(target: Webhook, service: str, request: httpx.Request, timings: Timings) -> httpx.Response:
    request.extensions = extensions(target.tls)
    # A new connection each time: there are few, and what was mended counts at the next try.
    async with client(service, tls=target.tls, timeout=timings.connect) as asking:
        answer = await asking.send(request, stream=True)
        try:
            words = await beginning(answer, MAX_ANSWER)
        finally:
            await answer.aclose()
    # Where the address is a secret, an error page might repeat it.
    return httpx.Response(answer.status_code, content=b"" if SECRET_REFERENCE.fullmatch(target.url) else words)


def body(target: Webhook, notice: Notice, link: str) -> bytes:
    """The JSON object: each field of the notice, and all of it in one text as chats show it."""
    told = notice.model_dump(mode="json") | {"link": link, "text": written(target.text, notice, link)}
    return json.dumps(told, ensure_ascii=False).encode()


def signature(secret: str, at: int, content: bytes) -> str:
    """Proves who sent a body, and when: an old one that is sent again can be refused."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + content, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


def _address(target: Webhook, service: str) -> str:
    if not SECRET_REFERENCE.fullmatch(target.url):
        return target.url
    url = resolve(target.url, service).get_secret_value()
    parts = split_address(url)
    if parts is None or parts.scheme not in ("http", "https") or not is_private(url):
        wrong = f"the secret {target.url} holds no address that can be used"
        raise Rejected(service, wrong, "put the whole address there: https://HOST/PATH")
    return url
