from __future__ import annotations

import base64
import re

from hypothesis import given
from hypothesis import strategies as st

from activities import powershell


def _read(literal: str) -> str:
    """What PowerShell reads between single quotes: every pair of quotes, of any kind, is one."""
    assert literal[0] == literal[-1] == "'"
    inside = literal[1:-1]
    assert not re.sub(r"(['‘’‚‛])\1", "", inside).strip("".join(set(inside) - set("'‘’‚‛")))
    return re.sub(r"(['‘’‚‛])\1", r"\1", inside)


@given(st.text(alphabet=st.sampled_from("a $`\"'‘’‚‛();|&*?[]\n\\")))
def test_any_text_is_one_literal(text: str) -> None:
    assert _read(powershell.quoted(text)) == text


def test_a_name_can_not_leave_its_quotes() -> None:
    script = powershell.act_on("x'; Stop-Computer; '", "stop")
    assert "$wanted = 'x''; Stop-Computer; '''\n" in script


def test_services_are_compared_without_wildcards_and_told_as_numbers() -> None:
    script = powershell.state_of("jtel*")
    assert "-eq $wanted" in script
    assert "-like" not in script
    assert "[int]$_.Status" in script


def test_looking_does_not_act() -> None:
    assert "sc.exe" not in powershell.state_of("robot5")
    assert "sc.exe stop $found[0].Name" in powershell.act_on("robot5", "stop")


def test_a_script_fits_into_a_command_line_of_cmd() -> None:
    words = powershell.words(powershell.act_on("x" * 128, "start"))
    assert len(" ".join(words)) < 8191  # the longest line cmd.exe takes
    assert base64.b64decode(words[-1]).decode("utf-16-le") == powershell.act_on("x" * 128, "start")
    assert words[:3] == ["powershell.exe", "-NoProfile", "-NonInteractive"]
