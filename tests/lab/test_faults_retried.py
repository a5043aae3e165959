"""Faults in the middle of a failover that go away: the run waits with the right words, and completes."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from lab.faults import FaultKind
from procedure.reports import RunOutcome
from tests.lab.attended import words
from tests.lab.faulty_run import FaultyRun, deviations
from tests.outcomes import why

pytestmark = pytest.mark.whole_run


async def test_what_does_not_stop_move_end_or_go_off(temporal: WorkflowEnvironment) -> None:
    """A service won't stop, one lies, a session never ends, a pair won't move, a machine stays on."""
    async with FaultyRun.start(temporal) as faulty:
        run = faulty.run
        stuck = faulty.fault("acd-jb1", "service_stuck", "wildfly")
        liar = faulty.fault("acd-tel1", "lie", "Stop-Service robot5")
        session = faulty.fault("acd-jb2", "session_stuck")
        await run.approve("before_start")

        waits = await faulty.problems("3-stop-wildfly-acd-jb1", "3-stop-8-server-acd-tel1")
        words(waits["3-stop-wildfly-acd-jb1"], "Wildfly on acd-jb1 is stopped", "it is stopping", "logs of Wildfly")
        words(waits["3-stop-8-server-acd-tel1"], "acd-tel1: failed", "8-Server on acd-tel1 is stopped", "it is running")
        await faulty.clear(stuck, liar)
        await faulty.retry(*waits)

        waits = await faulty.problems("4-drain-sessions")
        words(
            waits["4-drain-sessions"], "no session is active", "1 from acd@", "(acd-lb1, Sleep)", "stop it on the host"
        )
        pair = faulty.fault("acd-store2", "pair_stuck")
        await faulty.clear(session)
        await faulty.retry("4-drain-sessions")

        waits = await faulty.problems("5-move-storage")
        words(
            waits["5-move-storage"],
            "acd-store2: failed",
            "fs_r0 is not on acd-store2",
            "fs_r0_start_0 on acd-store2: error (1)",
            "pcs status --full",
            "`pcs resource cleanup`",
            "retry waits",
        )
        await faulty.clear(pair)
        await faulty.retry("5-move-storage")

        await faulty.until_gate("before_power_off")
        faulty.fault("acd-api1", "shutdown_stuck")
        asleep = faulty.fault("acd-jb4", "lie", "systemctl start wildfly")
        await run.approve("before_power_off")

        waits = await faulty.problems("9-shut-down-acd-api1")
        words(waits["9-shut-down-acd-api1"], "acd-api1 is off", "it is on, port", "retry with force and a reason")
        assert waits["9-shut-down-acd-api1"].can_force
        assert not any(entry.operation == "power cut" for entry in faulty.journal)
        refused = await run.decide("retry", step="9-shut-down-acd-api1", force=True)
        assert (refused.accepted, refused.text) == (False, "force needs a reason")
        assert (await run.decide("retry", step="9-shut-down-acd-api1", force=True, reason="it hangs")).accepted

        waits = await faulty.problems("11-start-wildfly-acd-jb4")
        words(waits["11-start-wildfly-acd-jb4"], "Wildfly on acd-jb4 is running", "it is stopped", "logs of Wildfly")
        await faulty.clear(asleep)
        await faulty.retry("11-start-wildfly-acd-jb4")

        await run.approve("functionality")
        found = await faulty.ended()
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert deviations(found, run.inventory) == {}
    assert [key for key in found.done if key[1] == "power cut"] == [("acd-api1", "power cut")]


async def test_access_that_is_lost_and_comes_back(temporal: WorkflowEnvironment) -> None:
    """Connections that drop pass without anyone; host key, sudo, password, a hang and the monitoring wait."""
    async with FaultyRun.start(temporal) as faulty:
        run = faulty.run
        passing: dict[str, FaultKind] = {"acd-jb5": "drop", "acd-chat1": "lose", "acd-api1": "slow", "acd-jb6": "hang"}
        for machine, kind in passing.items():
            faulty.fault(machine, kind, "systemctl stop *", times=1)
        faulty.fault("acd-tel2", "drop", "Stop-Service robot5", times=1)
        session = faulty.fault("acd-jb2", "session_stuck")
        await run.approve("before_start")

        # Nobody was asked about any of the five.
        await faulty.problems("4-drain-sessions")
        key = faulty.fault("acd-store2", "host_key_changed")
        sudo = faulty.fault("acd-lb2", "sudo_denied", "pcs")
        await faulty.clear(session)
        await faulty.retry("4-drain-sessions")

        waits = await faulty.problems("5-move-storage")
        words(waits["5-move-storage"], "access was denied", "changed host key: expected", "known_hosts", "console")
        await faulty.clear(key)
        await faulty.retry("5-move-storage")

        waits = await faulty.problems("6-move-load-balancer")
        words(waits["6-move-load-balancer"], "acd-lb2", "sudo refused `pcs node standby", "NOPASSWD")
        await faulty.clear(sudo)
        await faulty.retry("6-move-load-balancer")

        await faulty.until_gate("before_power_off")
        denied = faulty.fault("acd-jb4", "wrong_password")
        windows = faulty.fault("acd-tel2", "wrong_password")
        hung = faulty.fault("acd-chat2", "hangs")
        await faulty.approve_what_has_changed("before_power_off")

        on_windows = (
            "8-server",
            "platform-udp-listener",
            "presence-aggregator",
            "exchange-connector",
            "imap-connector",
        )
        there = {f"11-start-{component}-acd-tel2" for component in on_windows}
        waits = await faulty.problems("11-start-wildfly-acd-jb4", "11-start-chat-server-acd-chat2", *there)
        words(waits["11-start-wildfly-acd-jb4"], "acd-jb4: rejected", "access was denied", "Permission denied", "keys")
        words(waits["11-start-8-server-acd-tel2"], "acd-tel2: rejected", "credentials were rejected", "password")
        words(waits["11-start-chat-server-acd-chat2"], "acd-chat2: unknown", "no answer", "console")
        assert run.lab.monitoring
        await run.lab.monitoring.stop()
        await faulty.clear(denied, windows, hung)
        await faulty.retry(*waits)

        waits = await faulty.problems("12-lift-silence-vm-host-2")
        words(waits["12-lift-silence-vm-host-2"], "monitoring", "/api/v2/silences", "reached")
        await run.lab.monitoring.start()
        await faulty.retry("12-lift-silence-vm-host-2")

        await run.approve("functionality")
        found = await faulty.ended()
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert deviations(found, run.inventory) == {}


async def test_a_cluster_that_changes_under_the_run(temporal: WorkflowEnvironment) -> None:
    """A dump cut short and a full disk, a replica that lags, a daemon that lies, a HAProxy that forgets its MAINT."""
    async with FaultyRun.start(temporal) as faulty:
        run = faulty.run
        dump = "1-back-up-acd-dbm1"
        short = faulty.fault("acd-dbm1", "dump_truncated")
        session = faulty.fault("acd-jb2", "session_stuck")
        await run.approve("before_start")

        waits = await faulty.problems(dump)
        words(waits[dump], "a whole database backup", "says nothing of completion", "free space", "/srv/backup")
        full = faulty.fault("acd-dbm1", "disk_full")
        await faulty.clear(short)
        await faulty.retry(dump)
        await run.until(lambda status: next(s for s in status.steps if s.id == dump).attempts == 2)
        waits = await faulty.problems(dump)
        words(waits[dump], "Got errno 28 on write", "free space", "/srv/backup")
        await faulty.clear(full)
        await faulty.retry(dump)

        await faulty.problems("4-drain-sessions")
        lag = faulty.fault("acd-dbm2", "replication_held")
        daemon = faulty.fault("acd-tel1", "lie", "AcdGroupDistribute stop")
        await faulty.clear(session)
        await faulty.retry("4-drain-sessions")

        survivor = "7-maint-acd-lb2"
        waits = await faulty.problems("8-stop-daemon-acd-tel1", "7-maint-acd-lb1", survivor)
        words(waits[survivor], "refused", "nothing was sent", "acd-dbm2 has replayed all changes of acd-dbm1", "lag")
        words(waits["8-stop-daemon-acd-tel1"], "AcdGroupDistribute", "acd-tel1", "it is running")
        await faulty.clear(lag, daemon)
        # A person looks at the replica before telling the run to retry.
        await faulty.caught_up("acd-dbm2")
        await faulty.retry(*waits)

        await faulty.until_gate("before_power_off")
        balancer = run.lab.station("acd-lb2").balancer
        assert balancer
        await balancer.balancer.restart()
        await balancer.look()
        await faulty.approve_what_has_changed("before_power_off", "acd-lb2: MAINT was")

        in_backends = {f"9-shut-down-{name}" for name in ("acd-jb1", "acd-jb2", "acd-jb3", "acd-chat1", "acd-api1")}
        waits = await faulty.problems(*in_backends)
        words(
            waits["9-shut-down-acd-jb1"],
            "refused",
            "nothing was sent",
            "in MAINT in every backend on acd-lb2",
            "web/acd-jb1 is ",
            "reloaded or restarted forgets MAINT",
        )
        assert not any(entry.operation == "shutdown" and entry.machine == "acd-jb1" for entry in faulty.journal)
        # By hand, as the message says: that of stage 7 is over.
        for backend in run.inventory.haproxy.backends:
            for server, machine in backend.servers.items():
                if run.inventory.machine(machine).host == "vm-host-1":
                    await balancer.balancer.socket.command(f"set server {backend.name}/{server} state maint")
        await balancer.look()
        await faulty.retry(*waits)

        await run.approve("functionality")
        found = await faulty.ended(by_hand=("haproxy ",))
    assert found.report.outcome is RunOutcome.COMPLETED, why(found.report)
    assert deviations(found, run.inventory) == {}
    assert found.truth["machines"]["acd-dbm1"]["complete_dumps"] == 1
