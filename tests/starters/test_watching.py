"""Watching a run: one line a change, a live picture on a terminal, and never the end of the run."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from starters.exit_codes import ExitCode
from tests.starters.conftest import ROOT, Shell
from tests.starters.stand_in import WORKFLOWS
from workflows import names

WITHIN = 30
"""Seconds for anything to appear."""
ASKED = "Enter to go on watching:"
"""The end of a question: what is typed before it is no answer to it."""


@dataclass
class Screen:
    """What a command shows, as it comes."""

    process: asyncio.subprocess.Process
    source: asyncio.StreamReader
    keyboard: int | None = None
    text: str = field(default="")

    async def shows(self, words: str) -> None:
        """Wait until it has shown these words since the last ones."""
        try:
            async with asyncio.timeout(WITHIN):
                while words not in self.text:
                    chunk = await self.source.read(4096)
                    assert chunk, f"ended without {words!r}: {self.text[-2000:]}"
                    self.text += chunk.decode(errors="replace")
        except TimeoutError:
            raise AssertionError(f"never showed {words!r}: {self.text[-2000:]}") from None
        self.text = self.text.partition(words)[2]

    def type(self, line: str) -> None:
        assert self.keyboard is not None
        os.write(self.keyboard, f"{line}\n".encode())

    async def ends(self) -> int:
        return await asyncio.wait_for(self.process.wait(), WITHIN)


@asynccontextmanager
async def piped(shell: Shell, command: str, *arguments: str) -> AsyncIterator[Screen]:
    """A command whose output goes to a pipe."""
    process = await asyncio.create_subprocess_exec(
        *shell.words(command, *arguments),
        cwd=ROOT,
        env=shell.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield Screen(process, process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def on_terminal(shell: Shell, command: str, *arguments: str) -> AsyncIterator[Screen]:
    """A command on a terminal of its own."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *shell.words(command, *arguments),
        cwd=ROOT,
        env={**shell.environment, "TERM": "xterm", "LINES": "60"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(master), "rb", 0)
    )
    try:
        yield Screen(process, reader, master)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        transport.close()
        os.close(master)


async def test_plain_lines_tell_each_change_and_the_outcome(worked: Shell) -> None:
    named = ("--inventory", str(worked.inventory), "--vacate", "vm-host-1", "--reason", "gate task", "--watch")
    async with piped(worked, "failover", *named) as screen:
        await screen.shows("⚑ Waiting since")
        await screen.shows(f"python -m starters.approve --cluster {worked.cluster} --gate before_start")
        assert (await worked.about("approve", "--yes", "--by", "bob")).code == ExitCode.OK
        await screen.shows("bob: approve before_start")
        await screen.shows(f"python -m starters.confirm --cluster {worked.cluster} --step 3-close-window-acd-tel1")
        assert (await worked.about("skip", "--reason", "no window there", "--by", "bob")).code == ExitCode.OK
        await screen.shows("skip 3-close-window-acd-tel1")
        await screen.shows("ended: completed with skips")
        await screen.shows(f"python -m starters.report --cluster {worked.cluster} --run ")
        assert await screen.ends() == ExitCode.COMPLETED_WITH_SKIPS


async def test_interrupting_leaves_the_run_alone(worked: Shell) -> None:
    await worked.start("gate")
    async with piped(worked, "status", "--cluster", worked.cluster, "--watch") as screen:
        await screen.shows("⚑ Waiting since")
        screen.process.send_signal(signal.SIGINT)
        await screen.shows("The run goes on")
        assert await screen.ends() == ExitCode.INTERRUPTED
    assert (await worked.about("status")).code == ExitCode.WAITING


async def test_watching_outlives_the_worker(shell: Shell, temporal: WorkflowEnvironment) -> None:
    queue = names.task_queue(shell.cluster)
    async with Worker(temporal.client, task_queue=queue, workflows=WORKFLOWS):
        await shell.start("gate")
    async with piped(shell, "status", "--cluster", shell.cluster, "--watch") as screen:
        await screen.shows(f"No worker of cluster {shell.cluster} answers")
        await screen.shows("python -m worker")
        async with Worker(temporal.client, task_queue=queue, workflows=WORKFLOWS):
            await screen.shows("⚑ Waiting since")
            assert (await shell.about("reject", "--comment", "enough", "--by", "bob")).code == ExitCode.OK
            assert await screen.ends() == ExitCode.ABORTED


async def test_a_person_at_a_terminal_decides_where_he_watches(worked: Shell) -> None:
    named = ("--inventory", str(worked.inventory), "--vacate", "vm-host-1", "--reason", "gate problem", "--watch")
    async with on_terminal(worked, "failover", *named, "--by", "ann") as screen:
        await screen.shows("Or here, as ann: approve before_start [COMMENT] | reject before_start WHY")
        await screen.shows(ASKED)
        screen.type("retry")
        await screen.shows(
            "'retry' means nothing here; allowed: approve before_start [COMMENT] | reject before_start WHY"
        )
        await screen.shows(ASKED)
        screen.type("reject before_start")
        await screen.shows("comment: string should have at least 1 character. Nothing was sent.")
        await screen.shows(ASKED)
        screen.type("approve before_start fine by me")
        await screen.shows("Accepted: approved: Approve the start")
        await screen.shows("Or here, as ann: retry | skip WHY | abort WHY")
        await screen.shows(ASKED)
        screen.type("retry")
        await screen.shows("ended: completed")
        assert await screen.ends() == ExitCode.OK


async def test_what_is_typed_ahead_decides_nothing(worked: Shell) -> None:
    await worked.start("gate problem")
    async with on_terminal(worked, "status", "--cluster", worked.cluster, "--watch", "--by", "ann") as screen:
        await screen.shows("Enter to go on watching")
        screen.type("approve before_start\nretry\nretry")
        await screen.shows("Accepted: approved: Approve the start")
        await screen.shows("retry | skip WHY | abort WHY | Enter to go on watching")
        screen.type("abort enough")
        await screen.shows("Accepted")
        assert await screen.ends() == ExitCode.ABORTED


async def test_what_is_decided_elsewhere_ends_the_question(worked: Shell) -> None:
    await worked.start("gate task")
    async with on_terminal(worked, "status", "--cluster", worked.cluster, "--watch") as screen:
        await screen.shows("Enter to go on watching")
        assert (await worked.about("approve", "--yes")).code == ExitCode.OK
        await screen.shows("Decided elsewhere.")
        await screen.shows("confirm [COMMENT] | skip WHY | abort WHY")
        screen.type("")
        await screen.shows("Close the window on acd-tel1")
        assert (await worked.about("confirm", "--yes")).code == ExitCode.OK
        assert await screen.ends() == ExitCode.OK


async def test_approving_on_a_terminal_asks_first(worked: Shell) -> None:
    await worked.start("gate")
    async with on_terminal(worked, "approve", "--cluster", worked.cluster, "--by", "ann") as screen:
        await screen.shows("Vacate vm-host-1 now?")
        await screen.shows("Approve gate before_start as ann? [y/N]")
        screen.type("")
        await screen.shows("Not sent")
        assert await screen.ends() == ExitCode.REFUSED
    async with on_terminal(worked, "approve", "--cluster", worked.cluster, "--by", "ann") as screen:
        await screen.shows("[y/N]")
        screen.type("y")
        await screen.shows("Accepted")
        assert await screen.ends() == ExitCode.OK
