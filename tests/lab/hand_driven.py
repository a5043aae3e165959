"""A failover driven by hand, in the model's own operations: what a person would do by the procedure."""

from __future__ import annotations

from dataclasses import replace

from inventory.models import APPLICATION_ROLES, Role
from lab.balancer_view import Admin, BalancerView
from lab.world import World
from tests.lab.conftest import Turned

LONG = 300.0
"""Simulated seconds in which everything that can settle has settled."""


def set_admin(world: World, machine: str, admin: Admin) -> None:
    """Set a machine's servers on all HAProxies that run, as their admin pages would."""
    for balancer, view in list(world.balancers.items()):
        if view is not None:
            world.balancer_seen(balancer, _with_admin(view, machine, admin))


def _with_admin(view: BalancerView, machine: str, admin: Admin) -> BalancerView:
    return tuple(
        replace(b, servers=tuple(replace(s, admin=admin) if s.machine == machine else s for s in b.servers))
        for b in view
    )


def stop_software(world: World) -> None:
    """Stop every component."""
    for state in world.machines.values():
        for service in state.services.values():
            if service.component:
                world.stop_service(state.name, service.name)


def start_software(world: World, host: str) -> None:
    """Start every component of a side."""
    for state in world.machines.values():
        for service in state.services.values():
            if service.component and state.machine.host == host:
                world.start_service(state.name, service.name)


def leave(turned: Turned, host: str) -> None:
    """Move both pairs away from a host, set MAINT, move the daemon."""
    world = turned.world
    for pair in world.pairs.values():
        for node in pair.nodes:
            if world.machines[node].machine.host == host:
                world.standby(node, standby=True)
        turned.clock.advance(LONG)
    for machine in world.inventory.machines:
        if machine.host == host:
            set_admin(world, machine.name, "maint")
    daemons = [s for s in world.machines.values() if s.machine.role == Role.TELEPHONY]
    here = next(s for s in daemons if s.machine.host == host)
    there = next(s for s in daemons if s.machine.host != host)
    if here.daemon == "running":
        world.stop_daemon(here.name)
        turned.clock.advance(LONG)
        world.start_daemon(there.name)
        turned.clock.advance(LONG)


def power_off(turned: Turned, host: str) -> None:
    """Shut the machines of a host down in the procedure's order."""
    order = (
        APPLICATION_ROLES,
        (Role.DATABASE_REPLICA,),
        (Role.DATABASE_MASTER,),
        (Role.LOAD_BALANCER,),
        (Role.STORAGE,),
    )
    for roles in order:
        for machine in turned.world.inventory.with_role(*roles):
            if machine.host == host:
                turned.world.shut_down(machine.name)
        turned.clock.advance(LONG)


def fail_over(turned: Turned, host: str) -> None:
    """The whole procedure, without backups and monitoring."""
    stop_software(turned.world)
    turned.clock.advance(LONG)
    leave(turned, host)
    power_off(turned, host)
    survivor = next(h.name for h in turned.world.inventory.vm_hosts if h.name != host)
    start_software(turned.world, survivor)
    turned.clock.advance(LONG)


def power_on(turned: Turned, host: str) -> None:
    """Switch the machines of a host on in the procedure's order."""
    order = (
        (Role.STORAGE,),
        (Role.LOAD_BALANCER,),
        (Role.DATABASE_MASTER,),
        (Role.DATABASE_REPLICA,),
        APPLICATION_ROLES,
    )
    for roles in order:
        for machine in turned.world.inventory.with_role(*roles):
            if machine.host == host:
                turned.world.power_on(machine.name)
        turned.clock.advance(LONG)


def come_back(turned: Turned, host: str, *, active: bool) -> None:
    """The whole way back, without backups and monitoring.

    Args:
        turned: the world.
        host: whose machines come back.
        active: whether it was the active side before: both pairs and AcdGroupDistribute.
    """
    world, clock = turned.world, turned.clock
    stop_software(world)
    clock.advance(LONG)
    power_on(turned, host)
    stop_software(world)
    clock.advance(LONG)
    for pair in world.pairs.values():
        returned = next(name for name in pair.nodes if world.machines[name].machine.host == host)
        world.standby(returned, standby=False)
        clock.advance(LONG)
        for standby in (True, False) if active else ():
            world.standby(pair.peer(returned).machine, standby=standby)
            clock.advance(LONG)
    for machine in world.inventory.machines:
        if machine.host == host:
            set_admin(world, machine.name, "ready")
    for name in {machine.host for machine in world.inventory.machines}:
        start_software(world, name)
    clock.advance(LONG)
    if active:
        move_daemon(turned, to=host)


def move_daemon(turned: Turned, *, to: str) -> None:
    """AcdGroupDistribute runs on this side alone."""
    for state in turned.world.machines.values():
        if state.daemon == "running":
            turned.world.stop_daemon(state.name)
    turned.clock.advance(LONG)
    here = next(s for s in turned.world.machines.values() if s.machine.role == Role.TELEPHONY and s.machine.host == to)
    turned.world.start_daemon(here.name)
    turned.clock.advance(LONG)
