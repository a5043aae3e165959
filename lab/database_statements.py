"""Which statement a client sent, read from its text. Only what a cluster's procedure and its clients ask is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import sqlglot
from mysql_mimic import AllowedResult
from sqlglot import exp
from sqlglot.executor import execute

from lab.database_rows import PROCESS_COLUMNS, Row

# Answered by mysql_mimic itself: session settings, transactions, SELECT of functions and variables.
_SESSION_STATEMENT = re.compile(r"(set|use|begin|start transaction|commit|rollback)\b", re.IGNORECASE)
_SELECT_WITHOUT_TABLE = re.compile(r"select\b(?!.*\bfrom\b)(?!.*\bsleep\s*\()", re.IGNORECASE | re.DOTALL)
_CONNECTION_ID = re.compile(r"\bconnection_id\s*\(\s*\)", re.IGNORECASE)
_PROCESS_TABLE = re.compile(r"\bfrom\s+`?information_schema`?\s*\.\s*`?processlist`?", re.IGNORECASE)


def normalised(sql: str) -> str:
    """The statement without comments and final semicolon, white space collapsed outside of quotes."""
    without_comments = re.sub(r"/\*.*?\*/|(?:--\s|#)[^\n]*", " ", sql, flags=re.DOTALL)
    pieces = re.split(r"('(?:[^'\\]|\\.)*')", without_comments)
    collapsed = [piece if piece.startswith("'") else re.sub(r"\s+", " ", piece) for piece in pieces]
    return "".join(collapsed).strip().rstrip(";").strip()


def is_session_statement(statement: str) -> bool:
    """Whether it concerns the client's own session only."""
    return bool(_SESSION_STATEMENT.match(statement) or _SELECT_WITHOUT_TABLE.match(statement))


def selects_processes(statement: str) -> bool:
    """Whether it reads information_schema.PROCESSLIST."""
    return bool(_PROCESS_TABLE.search(statement))


def select_processes(statement: str, rows: Iterable[Row], connection_id: int) -> AllowedResult:
    """Run a SELECT of connection `connection_id` over the process list, as information_schema.PROCESSLIST shows it.

    Raises:
        ValueError: it is no SELECT.
    """
    names = [name.lower() for name in PROCESS_COLUMNS]
    expression = sqlglot.parse_one(_CONNECTION_ID.sub(str(connection_id), statement), dialect="mysql")
    if not isinstance(expression, exp.Select):
        raise ValueError(f"not a SELECT: {statement[:80]}")  # noqa: TRY004  # the value of the text, not its type
    for table in expression.find_all(exp.Table):
        table.replace(exp.to_table("processlist", alias=table.alias or None))
    titles = [] if expression.is_star else [_title(selected) for selected in expression.selects]
    result = execute(
        expression,
        schema={"processlist": dict.fromkeys(names, "text") | {"id": "int", "time": "int"}},
        tables={"processlist": [dict(zip(names, row, strict=True)) for row in rows]},
    )
    return result.rows, titles or [column.upper() for column in result.columns]


def filtered(statement: str, values: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """The pairs that a SHOW … LIKE or SHOW … WHERE Variable_name = | IN | LIKE asks for, sorted by name."""
    patterns = _patterns(statement)
    return [
        (name, value)
        for name, value in sorted(values.items())
        if patterns is None or any(pattern.fullmatch(name) for pattern in patterns)
    ]


def title_of_single(statement: str) -> str | None:
    """What MariaDB calls the only column of a SELECT without alias: its own text. None for any other statement."""
    expression = sqlglot.parse_one(statement, dialect="mysql")
    if not isinstance(expression, exp.Select) or len(expression.selects) != 1 or expression.selects[0].alias:
        return None
    return statement.partition(" ")[2]


def _title(selected: exp.Expr) -> str:
    return str(selected.alias or (selected.name if isinstance(selected, exp.Column) else selected.sql("mysql")))


def _patterns(statement: str) -> list[re.Pattern[str]] | None:
    match = re.search(r"\b(like|where)\b(.*)", statement, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    literals = re.findall(r"'((?:[^'\\]|\\.)*)'", match.group(2))
    is_like = "like" in match.group(0).split("'")[0].lower()
    return [re.compile(_like(text) if is_like else re.escape(text), re.IGNORECASE) for text in literals]


def _like(pattern: str) -> str:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wildcards = {"%": ".*", "_": "."}
    return "".join(wildcards.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
