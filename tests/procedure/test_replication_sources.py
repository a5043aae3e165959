"""Which machine a replication comes from, however its source is written."""

import pytest

from procedure.facts import ReplicaChannel
from procedure.replication import is_source
from procedure.situation import Situation


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("acd-dbm1", True),
        ("ACD-DBM1.example.com", True),
        ("10.77.0.71", True),
        ("10.99.0.71", True),
        ("DB-Primary.example.com", True),
        ("10.99.0.72", False),
        ("acd-dbm2", False),
        ("", False),
    ],
)
def test_by_name_address_or_alias(situation: Situation, host: str, known: bool) -> None:
    machine = situation.inventory.machine("acd-dbm1")
    machine = machine.model_copy(update={"aliases": ("10.99.0.71", "db-primary.example.com")})
    assert is_source(ReplicaChannel(source_host=host, io="Yes", sql="Yes"), machine) is known
