"""Pacemaker and DRBD observed on a machine: recorded answers of the real commands, and every way they may fail.

The shell is a stand-in that answers with recordings; SSH itself is proved elsewhere.
"""

from __future__ import annotations

import pytest

from activities.drbd import Drbd
from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient
from activities.pacemaker import Pacemaker
from procedure.facts import ClusterFact, DrbdFact
from procedure.subjects import ClusterOn, DrbdOn
from tests.activities.cluster import reference
from tests.activities.recorded import RecordedShell, Reply, recorded
from tests.activities.test_recordings_drbd import nine
from tests.activities.test_recordings_pacemaker import CONSTRAINTS, before_2_1

STORE = "acd-store1"
REFERENCE = reference(lambda _: None)


def replies(state: str = "01-healthy-store1-primary") -> dict[str, Reply]:
    """What a machine answers; findmnt was recorded with two columns more than are asked for."""

    def read(name: str) -> str:
        return recorded("pacemaker-drbd", state, STORE, name)

    return {
        "crm_mon --output-as=xml": read("crm_mon.xml"),
        "cibadmin": "<constraints/>\n",
        "ip": read("ip_addr_o.out"),
        "findmnt": read("findmnt_drbd.out"),
        "cat /proc/drbd": read("proc_drbd.out"),
    }


def changed(words: str, reply: Reply) -> RecordedShell:
    return RecordedShell({**replies(), words: reply})


async def cluster(shell: RecordedShell) -> ClusterFact:
    fact, source = await Pacemaker(REFERENCE, shell).observe(ClusterOn(machine=STORE))
    assert isinstance(fact, ClusterFact)
    assert source == "ssh acd-store1: crm_mon --output-as=xml"
    return fact


async def drbd(shell: RecordedShell, machine: str = STORE) -> DrbdFact:
    fact, source = await Drbd(REFERENCE, shell).observe(DrbdOn(machine=machine))
    assert isinstance(fact, DrbdFact)
    assert source.startswith("ssh acd-store1: ")
    return fact


async def test_a_cluster_with_its_constraints_addresses_and_mounts() -> None:
    shell = changed("cibadmin", CONSTRAINTS)
    fact = await cluster(shell)
    assert "10.77.0.100" in fact.addresses
    assert fact.mounts == ("/srv/acd",)
    assert len(fact.constraints) == 6
    assert sorted(shell.asked) == [
        "findmnt -rn -o TARGET,SOURCE",
        "ip -o addr show",
        "sudo cibadmin --query --scope constraints",
        "sudo crm_mon --output-as=xml",
    ]


async def test_a_cluster_that_tells_very_much_still_fits_into_a_history() -> None:
    crm_mon = str(replies()["crm_mon --output-as=xml"])
    failure = '<failure op_key="vip_monitor_{}" node="acd-store1" exitstatus="error" exitcode="1" status="complete"/>'
    failures = "".join(failure.format(number).replace("/>", f' exitreason="{"x" * 150}"/>') for number in range(12_000))
    located = '<rsc_location id="{0}" rsc="vip" node="n" score="5"/>'
    bans = [*(f"c{number}" for number in range(300)), "cli-ban-vip"]
    line = "2: eth0    inet {}/24 scope global eth0\n"
    pair = REFERENCE.pairs.storage.address
    addresses = [*(f"10.1.{n // 250}.{n % 250 + 1}" for n in range(400)), pair]

    fact = await cluster(
        RecordedShell(
            {
                **replies(),
                "crm_mon --output-as=xml": crm_mon.replace(
                    "</pacemaker-result>", f"<failures>{failures}</failures></pacemaker-result>"
                ),
                "cibadmin": f"<constraints>{''.join(located.format(name) for name in bans)}</constraints>\n",
                "ip": "".join(line.format(address) for address in addresses),
            }
        )
    )

    assert len(fact.model_dump_json()) < 50_000
    assert fact.failures[0] == "11950 more failures"
    assert fact.failures[-1].startswith("vip_monitor_11999 on acd-store1")
    assert fact.constraints[0].id == "cli-ban-vip"
    assert fact.constraints_left_out == 301 - len(fact.constraints) == 101
    assert pair in fact.addresses
    assert len(fact.addresses) == 100


async def test_the_reason_of_a_failed_action_is_read_as_a_person_reads_it() -> None:
    """A line of a real Pacemaker 2.1.5, which escapes the reason twice."""
    crm_mon = str(replies()["crm_mon --output-as=xml"])
    failure = (
        '<failures><failure op_key="fs_r0_start_0" node="acd-store2" exitstatus="error" exitreason="Couldn&amp;apos;t'
        ' mount device [/dev/drbd0] as /srv/acd" exitcode="1" status="complete"/></failures></pacemaker-result>'
    )

    fact = await cluster(changed("crm_mon --output-as=xml", crm_mon.replace("</pacemaker-result>", failure)))

    assert fact.failures == (
        "fs_r0_start_0 on acd-store2: error (1), complete, Couldn't mount device [/dev/drbd0] as /srv/acd,"
        " time not told",
    )


async def test_nothing_mounted_and_no_address_on_a_node_in_standby() -> None:
    fact = await cluster(RecordedShell({**replies("02-store1-standby"), "findmnt": (1, "", "")}))
    assert fact.mounts == ()
    assert "10.77.0.100" not in fact.addresses


async def test_only_mounts_of_the_pair_count() -> None:
    mounts = "/ /dev/vda1\n/srv/acd2 /dev/vdb1\n/mnt/elsewhere /dev/drbd0\n"
    assert (await cluster(changed("findmnt", mounts))).mounts == ("/mnt/elsewhere",)


async def test_pacemaker_before_2_0_is_asked_in_the_older_way() -> None:
    shell = RecordedShell(
        {
            **replies(),
            "crm_mon --output-as=xml": (64, "", "crm_mon: unrecognized option '--output-as=xml'\n"),
            "crm_mon --as-xml": before_2_1(
                recorded("pacemaker-drbd", "01-healthy-store1-primary", STORE, "crm_mon.xml")
            ),
        }
    )
    assert {resource.role for resource in (await cluster(shell)).resources} == {"Started", "Promoted", "Unpromoted"}


STOPPED = '<pacemaker-result api-version="2.25"><status code="102" message="Not connected"/></pacemaker-result>\n'


@pytest.mark.parametrize(
    ("words", "reply", "kind"),
    [
        ("crm_mon --output-as=xml", (102, STOPPED, ""), Transient),
        ("crm_mon --output-as=xml", (107, "", "Could not connect to cluster: Transport endpoint ...\n"), Transient),
        ("crm_mon --output-as=xml", (1, "", "crm_mon: Connection to cluster failed: Not connected\n"), Transient),
        ("crm_mon --output-as=xml", (127, "", "sudo: crm_mon: command not found\n"), Rejected),
        ("crm_mon --output-as=xml", (4, "", "crm_mon: insufficient privileges\n"), NotUnderstood),
        ("crm_mon --output-as=xml", "", NotUnderstood),
        ("crm_mon --output-as=xml", Transient(STORE, "the connection was lost"), Transient),
        ("crm_mon --output-as=xml", Rejected(STORE, "sudo refused"), Rejected),
        ("cibadmin", (102, "", "cibadmin: Could not connect to the CIB\n"), Transient),
        ("cibadmin", (13, "", "Permission denied\n"), NotUnderstood),
        ("cibadmin", "<cib/>", NotUnderstood),
        ("ip", (1, "", "Cannot open netlink socket\n"), NotUnderstood),
        ("ip", "", NotUnderstood),
        ("findmnt", (32, "", "findmnt: something\n"), NotUnderstood),
    ],
)
async def test_a_cluster_that_cannot_be_told(words: str, reply: Reply, kind: type[SystemTrouble]) -> None:
    with pytest.raises(kind) as raised:
        await cluster(changed(words, reply))
    assert type(raised.value) is kind
    assert raised.value.machine == STORE


async def test_a_machine_without_a_pair_has_no_cluster() -> None:
    with pytest.raises(NotUnderstood):
        await Pacemaker(REFERENCE, RecordedShell({})).observe(ClusterOn(machine="acd-jb1"))


async def test_drbd_up_and_down() -> None:
    shell = RecordedShell(replies())
    assert (await drbd(shell)).connection == "Connected"
    assert shell.asked == ["cat /proc/drbd"]
    assert await drbd(RecordedShell(replies("02-store1-standby"))) == DrbdFact(configured=False)


NINE = "version: 9.2.4 (api:2/proto:86-121)\nGIT-hash: bbe21ee7\n"
NO_FILE = (1, "", "cat: /proc/drbd: No such file or directory\n")
STATUS = "drbdsetup status r0 --json"


async def test_drbd_9_is_asked_for_json() -> None:
    shell = RecordedShell({"cat": NINE, STATUS: nine()})
    assert (await drbd(shell)).connection == "Connected"
    assert shell.asked == ["cat /proc/drbd", f"sudo {STATUS}"]


@pytest.mark.parametrize(
    "said",
    [
        (10, "", "r0: No such resource\nCommand 'drbdsetup-84 status r0' terminated with exit code 10\n"),
        (20, "", "Could not connect to 'drbd' generic netlink family\n"),
    ],
)
async def test_without_the_module_or_the_resource_it_is_down(said: Reply) -> None:
    assert await drbd(RecordedShell({"cat": NO_FILE, STATUS: said})) == DrbdFact(configured=False)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"cat": (1, "", "cat: /proc/drbd: Permission denied\n")}, NotUnderstood),
        ({"cat": ""}, NotUnderstood),
        ({"cat": Transient(STORE, "lost")}, Transient),
        ({"cat": NO_FILE}, Rejected),
        ({"cat": NO_FILE, STATUS: (1, "", "drbdsetup: unknown option --json\n")}, NotUnderstood),
        ({"cat": NINE, STATUS: "[]"}, NotUnderstood),
    ],
)
async def test_drbd_that_cannot_be_told(answers: dict[str, Reply], kind: type[SystemTrouble]) -> None:
    with pytest.raises(kind) as raised:
        await drbd(RecordedShell(answers))
    assert type(raised.value) is kind


async def test_a_machine_without_drbd() -> None:
    for machine in ("acd-lb1", "acd-jb1"):
        with pytest.raises(NotUnderstood):
            await drbd(RecordedShell({}), machine)
