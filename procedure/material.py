"""What facts say that matters to a decision: an approval is bound to it, and void when it has changed.

Who is primary, who takes writes, what is in MAINT, on, running, replicating: yes. Times, counts of sessions, a lag of
seconds: no, since they change all the time and nobody decides by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from inventory.models import Inventory
from procedure import who
from procedure.conditions import cluster_problems, node_problems
from procedure.facts import (
    AutostartFact,
    BalancerFact,
    ClusterFact,
    ComponentFact,
    DaemonFact,
    DrbdFact,
    Facts,
    PowerFact,
    ReplicaChannel,
    ReplicationFact,
)
from procedure.replication import channel_from
from procedure.situation import Situation
from procedure.subjects import (
    AutostartOf,
    BalancerOn,
    ClusterOn,
    ComponentOn,
    DaemonOn,
    DrbdOn,
    PowerOf,
    ReplicationOn,
    Subject,
)
from procedure.values import Value
from procedure.who import PAIR_WORDS

UNKNOWN = "unknown"
NOTHING_SEEN = "nothing"
"""Source where nobody could look."""
FAR_BEHIND = timedelta(minutes=1)
"""A replica that lags by seconds does so all the time; one that lags by a minute has a reason."""
_Says = tuple[str, str]
"""What it is about a machine, and how it is."""


class Statement(Value):
    """One thing that matters, in words: whoever reads it needs no facts, and no code of the same version."""

    source: str
    """What was looked at: key of the subject. All statements of one source are known, or none."""
    about: str
    """Machine, or pair."""
    what: str
    value: str

    @property
    def text(self) -> str:
        """In one line."""
        return f"{self.about}: {self.what} {self.value}"


def is_material(subject: Subject) -> bool:
    """Whether anything that is seen there matters to a decision."""
    return isinstance(
        subject, ComponentOn | PowerOf | AutostartOf | ClusterOn | DrbdOn | BalancerOn | ReplicationOn | DaemonOn
    )


def statements(situation: Situation, facts: Facts, watched: Iterable[Subject]) -> tuple[Statement, ...]:
    """What facts say about the subjects that are watched. What could not be observed is unknown, and says so."""
    inventory, subjects = situation.inventory, tuple(subject for subject in watched if is_material(subject))
    of_machines = (one for subject in subjects for one in _of_subject(inventory, subject, facts))
    return (*_of_the_cluster(inventory, subjects, facts), *of_machines)


def unseen(gate: str) -> tuple[Statement, ...]:
    """Where nobody could look at all."""
    return (Statement(source=NOTHING_SEEN, about=f"gate {gate}", what="what is watched", value=UNKNOWN),)


def changed(before: Iterable[Statement], now: Iterable[Statement]) -> tuple[str, ...]:
    """What reads differently now, in words. What can't be told any more, or only now, counts as changed."""
    old, new = _by_source(before), _by_source(now)
    if (NOTHING_SEEN in old) != (NOTHING_SEEN in new):
        return _known_or_not((*old.get(NOTHING_SEEN, ()), *new.get(NOTHING_SEEN, ())), known_now=NOTHING_SEEN in old)
    sources = dict.fromkeys((*old, *new))
    return tuple(line for source in sources for line in _difference(old.get(source, ()), new.get(source, ())))


def summary(said: Iterable[Statement]) -> tuple[str, ...]:
    """The statements for a person: one line for all that read the same."""
    about: dict[_Says, list[str]] = {}
    for one in said:
        about.setdefault((one.what, one.value), []).append(one.about)
    return tuple(
        f"{what} {value}: {', '.join(names)}" if len(names) > 1 else f"{names[0]}: {what} {value}"
        for (what, value), names in about.items()
    )


# --- what changed -----------------------------------------------------------------------------------------------------


def _by_source(said: Iterable[Statement]) -> dict[str, tuple[Statement, ...]]:
    found: dict[str, tuple[Statement, ...]] = {}
    for one in said:
        found[one.source] = (*found.get(one.source, ()), one)
    return found


def _difference(old: tuple[Statement, ...], new: tuple[Statement, ...]) -> tuple[str, ...]:
    if _is_unknown(old) != _is_unknown(new):
        return _known_or_not(old if _is_unknown(old) else new, known_now=_is_unknown(old))
    before, after = ({one.what: one.value for one in side} for side in (old, new))
    return tuple(
        f"{about}: {what} was {before.get(what, 'not there')}, is {after.get(what, 'not there')}"
        for what, about in {one.what: one.about for one in (*old, *new)}.items()
        if before.get(what) != after.get(what)
    )


def _is_unknown(said: tuple[Statement, ...]) -> bool:
    return any(one.value == UNKNOWN for one in said)


def _known_or_not(unknown: tuple[Statement, ...], *, known_now: bool) -> tuple[str, ...]:
    words = "could not be told, is known now" if known_now else "was known, can't be told now"
    return tuple(f"{one.about}: {one.what} {words}" for one in unknown)


# --- the cluster as a whole -------------------------------------------------------------------------------------------


def _of_the_cluster(inventory: Inventory, subjects: tuple[Subject, ...], facts: Facts) -> Iterator[Statement]:
    clusters = {subject.machine for subject in subjects if isinstance(subject, ClusterOn)}
    for name in who.PAIR_NAMES:
        pair = who.pair(inventory, name)
        if clusters & set(pair.machines):
            found = who.primaries(inventory, pair, facts)
            value = UNKNOWN if found is None else " and ".join(found) or "nobody"
            yield Statement(source=f"pair:{name}", about=PAIR_WORDS[name], what="primary", value=value)
    balanced = set(inventory.pairs.load_balancer.machines)
    if clusters & balanced and any(isinstance(s, BalancerOn) and s.machine in balanced for s in subjects):
        writers = who.writers(inventory, facts)
        value = UNKNOWN if writers is None else " and ".join(writers) or "nowhere"
        yield Statement(source="writes", about="database", what="writes go to", value=value)


# --- one machine ------------------------------------------------------------------------------------------------------


def _of_subject(inventory: Inventory, subject: Subject, facts: Facts) -> Iterator[Statement]:
    said = tuple(_says(inventory, subject, facts)) or ((_headline(subject), UNKNOWN),)
    for what, value in said:
        yield Statement(source=subject.key, about=getattr(subject, "machine", ""), what=what, value=value)


def _headline(subject: Subject) -> str:
    if isinstance(subject, ComponentOn):
        return subject.component
    words = {"daemon": "AcdGroupDistribute", "cluster": "Pacemaker", "drbd": "DRBD", "balancer": "HAProxy"}
    return words.get(subject.kind, subject.kind)


def _says(inventory: Inventory, subject: Subject, facts: Facts) -> Iterator[_Says]:
    """Nothing where it is unknown."""
    observation = facts.observation(subject)
    fact = observation.fact if observation else None
    match fact:
        case ClusterFact():
            yield from _pacemaker(inventory, subject, fact)
        case BalancerFact():
            yield from _haproxy(inventory, fact)
        case ReplicationFact():
            yield from _replication(inventory, subject, fact)
        case PowerFact() if fact.state == "undecided":
            return
        case PowerFact() | DaemonFact() | ComponentFact():
            yield _headline(subject), "left to a person" if fact.state == "by_hand" else fact.state
        case AutostartFact():
            yield "autostart", "not told" if fact.enabled is None else "on" if fact.enabled else "off"
        case DrbdFact():
            yield "DRBD", _drbd(fact)


def _pacemaker(inventory: Inventory, subject: Subject, fact: ClusterFact) -> Iterator[_Says]:
    yield "Pacemaker", ", ".join(cluster_problems(fact)) or "able to act"
    pair = inventory.pair_of(getattr(subject, "machine", ""))
    for machine in pair.machines if pair else ():
        yield f"sees {machine}", ", ".join(node_problems(who.node(inventory, fact, machine))) or "online"


def _haproxy(inventory: Inventory, fact: BalancerFact) -> Iterator[_Says]:
    yield "HAProxy", "running" if fact.running else "not running"
    known = {backend.name for backend in inventory.haproxy.backends}
    for admin in ("maint", "drain"):
        servers = sorted(f"{s.backend}/{s.server}" for s in fact.servers if s.backend in known and s.admin == admin)
        yield admin.upper(), ", ".join(servers) or "none"


def _replication(inventory: Inventory, subject: Subject, fact: ReplicationFact) -> Iterator[_Says]:
    read_only = {None: "not told", True: "ON", False: "OFF"}[fact.read_only]
    yield "read_only", read_only
    for source in who.sources_of(inventory, getattr(subject, "machine", "")):
        yield f"replication from {source}", _channel(channel_from(inventory, fact, source))


def _channel(channel: ReplicaChannel | None) -> str:
    if channel is None:
        return "not set up"
    if channel.sql != "Yes" or channel.io == "No":
        return f"stopped, IO {channel.io}, SQL {channel.sql}"
    if channel.io != "Yes":
        return "connecting"
    behind = channel.lag_seconds is not None and channel.lag_seconds >= FAR_BEHIND.total_seconds()
    return "running, far behind" if behind else "running"


def _drbd(fact: DrbdFact) -> str:
    if not fact.configured:
        return "down"
    return f"{_connection(fact.connection)}, {fact.role}, {fact.disk}"


def _connection(connection: str) -> str:
    # A node whose peer is away goes from one word for it to the next, and back, all the time.
    if connection in ("Connected", "StandAlone"):
        return connection
    return "synchronising" if connection.startswith(("Sync", "Verify", "PausedSync")) else "without its peer"
