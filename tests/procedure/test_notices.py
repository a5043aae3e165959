"""Notices in words."""

from __future__ import annotations

from inventory.notifications import SUBJECT, TEMPLATE_FIELDS, TEXT
from procedure.notices import address_of_run, cut, one_line, written
from tests.activities.notices import LINK, NOTICE


def test_templates_may_name_exactly_what_is_known() -> None:
    assert tuple(NOTICE.fields(LINK)) == TEMPLATE_FIELDS


def test_the_default_text_leaves_nothing_out() -> None:
    text = written(TEXT, NOTICE, LINK)
    assert not [name for name, value in NOTICE.fields(LINK).items() if value not in text and name != "event"]
    assert "$" not in text + written(SUBJECT, NOTICE, LINK)


def test_what_nobody_knows_stays_as_it_is() -> None:
    assert written("$headlines costs $ 5, $$5", NOTICE, LINK) == "$headlines costs $ 5, $5"


def test_texts_have_an_end() -> None:
    assert one_line("a\n b\tc  " + "d" * 300).startswith("a b c d")
    assert len(one_line("d" * 300)) == 200
    assert cut("a\n" * 10) == "a\n" * 10
    assert len(cut("a" * 5000)) == 3000


def test_the_address_of_a_run() -> None:
    assert address_of_run("", "default", "cluster-a", "1") == ""
    address = address_of_run("https://temporal.example/", "a b", "cluster-a", "1")
    assert address == "https://temporal.example/namespaces/a%20b/workflows/cluster-a/1/timeline"
