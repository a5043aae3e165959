"""The report of a run as text, for an auditor: what was done, by whose decision, and how that is known."""

from __future__ import annotations

from collections import Counter

from procedure.as_found import AsFound
from procedure.reports import Evidence, Outage
from procedure.verdicts import Answer, Verdict
from starters.screens import run_line
from starters.wording import clock, moment, state_of, took
from workflows.status import DecisionRecord, RunReport, StageView, StepRecord, StepState

Lines = list[str]


def report_text(report: RunReport) -> str:
    """The whole report."""
    if report.direction == "maintenance":
        return _together(_of_a_maintenance(report))
    return _together(_of_a_run(report))


def _together(sections: tuple[Lines, ...]) -> str:
    return "\n\n".join("\n".join(section) for section in sections if section)


def _of_a_maintenance(report: RunReport) -> tuple[Lines, ...]:
    """Its failover and its failback have reports of their own, with outage, health check and state as found."""
    return (
        _head(report),
        _section("Still to be done by people", [f"- {step}" for step in report.next_steps]),
        _section("Runs", _runs(report), "None was begun."),
        _section("Decisions", [_decision(said) for said in report.decisions], "Nobody decided anything."),
        _section("Stages", [_stage(stage) for stage in report.stages]),
        _section("Steps", _steps(report)),
        _section("Notes", [f"- {note}" for note in report.notes]),
    )


def _runs(report: RunReport) -> Lines:
    lines: Lines = []
    for run in report.runs:
        lines.append(f"- {run_line(run)}")
        lines += [f"    {run.outcome_reason}"] if run.outcome_reason else []
        lines.append(f"    its report: python -m starters.report --cluster {report.cluster} --run {run.run_id}")
    return lines


def _of_a_run(report: RunReport) -> tuple[Lines, ...]:
    return (
        _head(report),
        _section("Still to be done by people", [f"- {step}" for step in report.next_steps]),
        _section("To go on from there", _on(report)),
        _section("To go back from there, in this order", _back(report)),
        _section("Decisions", [_decision(said) for said in report.decisions], "Nobody decided anything."),
        _section("Stages", [_stage(stage) for stage in report.stages]),
        _section("Outage, as the probes measured it", _outage(report.outage)),
        _section("Steps", _steps(report)),
        _section("State as found", _as_found(report.as_found), "The run ended before it was recorded."),
        _section("Health check before the start", _health(report.health), "It came to no end."),
        _section("Notes", [f"- {note}" for note in report.notes]),
    )


def _section(title: str, lines: Lines, otherwise: str = "") -> Lines:
    shown = lines or ([otherwise] if otherwise else [])
    return [title, "-" * len(title), *shown] if shown else []


def _head(report: RunReport) -> Lines:
    title = f"Report: {report.direction} of cluster {report.cluster}, {report.intention}"
    outcome = report.outcome.value if report.outcome else f"not over yet ({report.phase})"
    return [
        title,
        "=" * len(title),
        f"Outcome       {outcome}" + (f". {report.outcome_reason}" if report.outcome_reason else ""),
        f"Began         {moment(report.began)}",
        f"Ended         {moment(report.ended)}, after {took(report.ended - report.began)}"
        if report.ended
        else "Ended         not yet",
        *([f"Carries on    run {report.adopted}, which ended in the middle"] if report.adopted else []),
        f"Requested by  {report.requested_by or 'nobody named'}",
        f"Reason        {report.reason or 'none given'}",
        f"Expected      {took(report.expected) or 'unknown'}, outage {took(report.expected_outage) or 'unknown'}",
        f"Inventory     {report.inventory_digest}",
        f"Plan          {report.plan_digest or 'none was made'}",
        f"Run           workflow {report.workflow_id}, run {report.run_id}",
        "Names of people are as they gave them.",
    ]


def _on(report: RunReport) -> Lines:
    if report.ways is None:
        return []
    remains = ["What remains:", *(f"- {step}" for step in report.ways.on)] if report.ways.on else []
    return [f"By itself: {report.ways.on_command}", *remains]


def _back(report: RunReport) -> Lines:
    return [f"- {step}" for step in report.ways.back] if report.ways else []


def _decision(said: DecisionRecord) -> str:
    verdict = "accepted" if said.accepted else "NOT accepted"
    about = f" {said.about}" if said.about else ""
    words = f' "{said.said}"' if said.said else ""
    return f"{moment(said.at)}  {said.by or 'unnamed'}: {said.signal}{about}{words} – {verdict}: {said.answer}"


def _stage(stage: StageView) -> str:
    times = ""
    if stage.began and stage.ended:
        times = f"{clock(stage.began)}–{clock(stage.ended)}  {took(stage.ended - stage.began)}"
    note = f"  ({stage.note})" if stage.note and not stage.total else ""
    line = f"{stage.number:>2}  {stage.title:36} {stage.state:11} {stage.done:>3}/{stage.total:<3}  {times}{note}"
    return line.rstrip()


def _outage(outage: Outage | None) -> Lines:
    if outage is None:
        return ["It was not measured."]
    accuracy = f"measured {outage.measurements} times, every {took(outage.interval)}"
    if outage.began is None:
        return [f"None was seen ({accuracy}).", *_gaps(outage)]
    end = moment(outage.ended) if outage.ended else "not over when the measuring ended"
    return [
        f"{took(outage.duration)}, {accuracy}",
        f"from {moment(outage.began)} to {end}",
        *(f"  {clock(s.at)}  {'answers' if s.ok else 'no answer'}  {s.detail}".rstrip() for s in outage.samples),
        *_gaps(outage),
    ]


def _gaps(outage: Outage) -> Lines:
    return [f"  not measured: {gap}" for gap in outage.gaps]


def _steps(report: RunReport) -> Lines:
    lines: Lines = []
    for stage in report.stages:
        records = [record for record in report.steps if record.stage == stage.number]
        if records:
            lines += [f"{stage.number} {stage.title} ({stage.label})"]
        for record in records:
            lines += [f"  {line}" for line in _step(record)]
    return lines


def _step(record: StepRecord) -> Lines:
    began = clock(record.began) if record.began else "        "
    tries = f", handed out {record.attempts} times" if record.attempts > 1 else ""
    duration = f" in {took(record.duration)}" if record.duration else ""
    lines = [f"{began}  {record.title}: {state_of(record)}{duration}{tries}  [{record.id}]"]
    if record.decided_by or record.reason:
        words = f": {record.reason}" if record.reason else ""
        lines.append(f"            decided by {record.decided_by or 'nobody named'}{words}")
    if record.problem is not None and (record.report is None or record.state is not StepState.ENDED or record.reason):
        lines.append(f"            problem: {record.problem.text}")
    if record.report is not None:
        lines += _proof(record.report.seen, record.report.verdicts, record.report.evidence)
    return lines


def _proof(seen: str, verdicts: tuple[Verdict, ...], evidence: tuple[Evidence, ...]) -> Lines:
    lines = [f"            seen: {seen}"] if seen else []
    lines += [f"            condition: {verdict.text}" for verdict in verdicts]
    for one in evidence:
        lines.append(f"            {clock(one.at)} {one.instruction}")
        lines += [f"                     → {line}" for line in one.answer.splitlines()]
    return lines


def _as_found(found: AsFound | None) -> Lines:
    if found is None:
        return []
    lines = [
        f"Storage primary        {found.storage}",
        f"Load-balancer primary  {found.load_balancer}",
        f"Writes on              {found.writer}",
        f"AcdGroupDistribute on  {', '.join(found.daemon) or 'not seen by the run'}",
        "Running                " + (", ".join(f"{c.component} on {c.machine}" for c in found.running) or "nothing"),
    ]
    for balancer in found.balancers:
        servers = ", ".join(f"{s.backend}/{s.server} {s.status}" for s in balancer.servers)
        lines.append(
            f"HAProxy of {balancer.balancer}: {servers or ('no servers' if balancer.running else 'not running')}"
        )
    return lines


def _health(verdicts: tuple[Verdict, ...]) -> Lines:
    counts = Counter(verdict.answer.value for verdict in verdicts)
    summary = ", ".join(f"{count} {answer}" for answer, count in counts.items())
    order = (Answer.FAIL, Answer.UNKNOWN, Answer.WARN, Answer.PASS, Answer.NOT_APPLICABLE)
    listed = sorted(verdicts, key=lambda verdict: order.index(verdict.answer))
    return [summary, *(f"  {verdict.answer.value:14} {_words(verdict)}" for verdict in listed)] if verdicts else []


def _words(verdict: Verdict) -> str:
    return verdict.condition + (f" – {verdict.reason}" if verdict.reason else "")
