"""The state as found: what the cluster was before the run touched anything. The failback restores it."""

from __future__ import annotations

from inventory.models import Inventory, Pair, Role
from procedure import who
from procedure.facts import Facts, ServerState
from procedure.situation import Situation
from procedure.values import Value
from procedure.who import PAIR_WORDS


class BalancerFound(Value):
    """HAProxy of one load balancer, as found."""

    balancer: str
    running: bool
    servers: tuple[ServerState, ...] = ()


class ComponentFound(Value):
    """A component that ran."""

    machine: str
    component: str


class AsFound(Value):
    """What the cluster was before the run."""

    storage: str
    """Primary of the storage pair."""
    load_balancer: str
    """Primary of the load-balancer pair."""
    writer: str
    """The master that takes writes."""
    daemon: tuple[str, ...] = ()
    """Where AcdGroupDistribute runs: one machine, or none if only a person can see it."""
    balancers: tuple[BalancerFound, ...] = ()
    running: tuple[ComponentFound, ...] = ()
    observed: bool = True
    """False: the normal state of the inventory, assumed for a plan on paper."""

    @classmethod
    def from_facts(cls, situation: Situation, facts: Facts) -> AsFound:
        """The state as found, after a health check that passed.

        Raises:
            ValueError: who is primary or who takes writes can't be told from the facts.
        """
        inventory = situation.inventory
        return cls(
            storage=_primary(inventory, "storage", facts),
            load_balancer=_primary(inventory, "load_balancer", facts),
            writer=_writer(inventory, facts),
            daemon=_daemon(inventory, facts),
            balancers=_balancers(inventory, facts),
            running=_running(inventory, facts),
        )

    @classmethod
    def normal(cls, inventory: Inventory) -> AsFound:
        """The normal state, as the inventory tells it: for a plan on paper."""
        storage = _normally_active(inventory, inventory.pairs.storage)
        masters = inventory.with_role(Role.DATABASE_MASTER)
        beside = [m.name for m in inventory.with_role(Role.TELEPHONY) if m.host == inventory.machine(storage).host]
        everything = ((m, c) for m in inventory.machines for c in inventory.components_on(m))
        return cls(
            storage=storage,
            load_balancer=_normally_active(inventory, inventory.pairs.load_balancer),
            writer=next((m.name for m in masters if m.normal == "active"), masters[0].name),
            daemon=tuple(beside[:1]),
            running=tuple(ComponentFound(machine=m.name, component=c.name) for m, c in everything),
            observed=False,
        )


def _normally_active(inventory: Inventory, pair: Pair) -> str:
    return next((m for m in pair.machines if inventory.machine(m).normal == "active"), pair.machines[0])


def _primary(inventory: Inventory, name: who.PairName, facts: Facts) -> str:
    found = who.primary(inventory, who.pair(inventory, name), facts)
    if found is None:
        raise ValueError(f"who is primary of the {PAIR_WORDS[name]} can't be told")
    return found


def _writer(inventory: Inventory, facts: Facts) -> str:
    found = who.writers(inventory, facts)
    if not found or len(found) != 1:
        raise ValueError(f"which master takes writes can't be told: {', '.join(found or ()) or 'none is seen'}")
    return found[0]


def _daemon(inventory: Inventory, facts: Facts) -> tuple[str, ...]:
    seen = ((m.name, facts.daemon(m.name)) for m in inventory.with_role(Role.TELEPHONY))
    return tuple(name for name, fact in seen if fact is not None and fact.state == "running")


def _balancers(inventory: Inventory, facts: Facts) -> tuple[BalancerFound, ...]:
    seen = ((name, facts.balancer(name)) for name in inventory.pairs.load_balancer.machines)
    return tuple(BalancerFound(balancer=n, running=f.running, servers=f.servers) for n, f in seen if f is not None)


def _running(inventory: Inventory, facts: Facts) -> tuple[ComponentFound, ...]:
    everything = ((m.name, c.name) for m in inventory.machines for c in inventory.components_on(m))
    seen = ((machine, component, facts.component(machine, component)) for machine, component in everything)
    return tuple(ComponentFound(machine=m, component=c) for m, c, f in seen if f is not None and f.state == "running")
