"""What is wrong with a replication, and what a replica lacks of its source, in words."""

from __future__ import annotations

from inventory.models import Inventory, Machine
from procedure.facts import Facts, ReplicaChannel, ReplicationFact
from procedure.subjects import ReplayOn, ReplicationOn, Subject


def observed_of_replay(replica: str, sources: tuple[str, ...]) -> tuple[Subject, ...]:
    """What tells whether a database machine has replayed all that these sources wrote."""
    return (ReplicationOn(machine=replica), *(ReplayOn(machine=replica, source=source) for source in sources))


def channel_from(inventory: Inventory, fact: ReplicationFact, source: str) -> ReplicaChannel | None:
    """The replication from one machine, found by its name or address."""
    machine = inventory.machine(source)
    return next((channel for channel in fact.channels if is_source(channel, machine)), None)


def is_source(channel: ReplicaChannel, machine: Machine) -> bool:
    """Whether a replication comes from a machine, by its name, with or without domain, its address or an alias."""
    host = channel.source_host.lower()
    named = host == machine.name.lower() or host.split(".")[0] == machine.name.lower()
    return named or host in (machine.address.lower(), *(alias.lower() for alias in machine.aliases))


def replication_problem(inventory: Inventory, fact: ReplicationFact, source: str) -> str:
    """What is wrong with the replication from one machine; empty if nothing is.

    While writes go on, a replica has nearly always received one that it has not replayed yet: only positions, and its
    lag, tell whether it falls behind.
    """
    channel = channel_from(inventory, fact, source)
    if channel is None:
        return f"no replication from {source}"
    if channel.io != "Yes" or channel.sql != "Yes":
        error = channel.io_error or channel.sql_error
        return f"from {source}: IO {channel.io}, SQL {channel.sql}" + (f" ({error})" if error else "")
    if channel.lag_seconds != 0:
        lag = "unknown" if channel.lag_seconds is None else f"{channel.lag_seconds} s"
        return f"from {source}: lag {lag}"
    return ""


def catches_up(inventory: Inventory, fact: ReplicationFact, source: str) -> bool:
    """Whether what a replica lacks comes by itself: both threads of the replication from a machine run."""
    channel = channel_from(inventory, fact, source)
    return channel is not None and channel.io == "Yes" and channel.sql == "Yes"


def replay_problem(facts: Facts, replica: str, source: str) -> str:
    """What a replica has not executed of what a source had written; empty if it has all, or that was not seen."""
    fact = facts.replay(replica, source)
    return f"from {source}: not yet executed: {fact.lacking}" if fact and fact.lacking else ""


def replayed_words(facts: Facts, replica: str, sources: tuple[str, ...]) -> str:
    """Up to where a replica has executed what its sources wrote."""
    seen = {source: facts.replay(replica, source) for source in sources}
    return ", ".join(f"all executed that {s} had written ({fact.written})" for s, fact in seen.items() if fact)
