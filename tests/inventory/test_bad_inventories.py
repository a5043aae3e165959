"""What is said about bad inventories: the right place, the right words, never a secret."""

import pytest

from inventory.loading import parse
from inventory.problems import InventoryError
from tests.inventory.bad_inventories import BAD, GOLDEN, REFERENCE, SECRETS, Bad, golden


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_says_what_is_wrong_where(bad: Bad) -> None:
    lines = bad.text().splitlines()
    found = [problem for problem in bad.problems() if problem.path == bad.path]
    assert found, f"nothing about {bad.path!r} in {[str(problem) for problem in bad.problems()]}"
    assert any(
        bad.line in lines[problem.line - 1] and bad.says in f"{problem.wrong}\n{problem.allowed}" for problem in found
    ), [f"{problem}\n{lines[problem.line - 1]}" for problem in found]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.what)
def test_columns_point_into_the_line(bad: Bad) -> None:
    lines = bad.text().splitlines()
    for problem in bad.problems():
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.wrong
        assert problem.allowed


WITH_SECRETS = tuple(bad for bad in BAD if bad in SECRETS or "correct-horse" in bad.text())


@pytest.mark.parametrize("bad", WITH_SECRETS, ids=lambda bad: bad.what)
def test_a_secret_is_never_repeated(bad: Bad) -> None:
    with pytest.raises(InventoryError) as caught:
        parse(bad.text())
    for secret in ("correct-horse", "20251122"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_the_messages_are_those_that_were_read_by_people() -> None:
    assert golden() == GOLDEN.read_text(), "changed? python -m tests.inventory.bad_inventories, and read the difference"


def test_all_problems_come_at_once() -> None:
    text = REFERENCE.read_text()
    for bad in ("password: env:FAILOVER_DATABASE_PASSWORD", "password: env:FAILOVER_HAPROXY_PASSWORD"):
        text = text.replace(bad, "password: hunter2", 1)
    text = text.replace("        acd-chat2: acd-chat2\n", "", 1).replace("  - exchange ", "  - exchnage ", 1)
    with pytest.raises(InventoryError) as caught:
        parse(text)
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["features[2]", "database.password", "haproxy.admin_page.password", "haproxy.backends[2].servers"]
    assert str(caught.value).count("\n  allowed: ") == 4
