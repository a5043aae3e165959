"""Components and features: what is stopped and started can be stopped and started."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from inventory.checks.common import machine_names, repeated, unknown
from inventory.models import Component, Inventory, Role
from inventory.problems import Finding, Path, one_of


def names(inventory: Inventory) -> Iterator[Finding]:
    """A role has no two components of one name, so that a step names one thing."""
    for role in Role:
        entries: list[tuple[Path, str]] = [
            (("components", index, "name"), component.name) for index, component in _of(inventory, role)
        ]
        yield from repeated(entries, f"component of {role}")


def _of(inventory: Inventory, role: Role) -> list[tuple[int, Component]]:
    return [(index, one) for index, one in enumerate(inventory.components) if one.role == role]


def services_named(inventory: Inventory) -> Iterator[Finding]:
    """A component that is a service has the service's name, one that the machine's system can have."""
    for index, component in enumerate(inventory.components):
        path: Path = ("components", index, "service")
        systems = {machine.os for machine in inventory.with_role(component.role)}
        if component.control == "service" and not component.service:
            wrong = f"{component.name} is controlled as a service, but `service` is missing"
            yield Finding(path, wrong, "the service's name; or `control: operator` with instructions")
        if component.service and " " in component.service and "linux" in systems:
            wrong = f"{component.service!r} holds a blank, and machines of the role {component.role} run Linux"
            yield Finding(path, wrong, "the name of a systemd unit or an init script")


def instructions_given(inventory: Inventory) -> Iterator[Finding]:
    """Where a person has to stop and start it, the instructions are there."""
    for index, component in enumerate(inventory.components):
        by_hand = component.control == "operator" or component.by_hand_on
        for key, text in (("stop_by_hand", component.stop_by_hand), ("start_by_hand", component.start_by_hand)):
            if by_hand and not text.strip():
                wrong = f"{component.name} is stopped and started by a person, but {key!r} is missing"
                yield Finding(("components", index, key), wrong, "exact instructions for that person")


def by_hand_machines(inventory: Inventory) -> Iterator[Finding]:
    """The machines where it is no service are machines of its role."""
    for index, component in enumerate(inventory.components):
        of_role = [machine.name for machine in inventory.with_role(component.role)]
        for position, name in enumerate(component.by_hand_on):
            path: Path = ("components", index, "by_hand_on", position)
            yield from unknown(path, name, of_role, f"machine of the role {component.role} called")


def order_known(inventory: Inventory) -> Iterator[Finding]:
    """What must run first is known, and nothing waits for itself."""
    for role in Role:
        components = _of(inventory, role)
        known = [component.name for _, component in components]
        for index, component in components:
            for position, name in enumerate(component.start_after):
                path: Path = ("components", index, "start_after", position)
                yield from unknown(path, name, known, f"component of {role} called")
        yield from _circle(components)


def _circle(components: list[tuple[int, Component]]) -> Iterator[Finding]:
    try:
        TopologicalSorter({component.name: component.start_after for _, component in components}).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        index = next(index for index, component in components if component.name == circle[0])
        wrong = f"these wait for each other: {' after '.join(circle)}"
        yield Finding(("components", index, "start_after"), wrong, "an order without a circle")


def manager_fits(inventory: Inventory) -> Iterator[Finding]:
    """`service` of System V is a matter of Linux."""
    for index, component in enumerate(inventory.components):
        windows = [one.name for one in inventory.with_role(component.role) if one.os == "windows"]
        if component.manager == "sysv" and windows:
            wrong = f"{component.name} has manager sysv, but {windows[0]} runs Windows"
            yield Finding(("components", index, "manager"), wrong, "no `manager`: Windows has its own")


def machines_exist(inventory: Inventory) -> Iterator[Finding]:
    """What the site uses has machines to run on."""
    for index, component in enumerate(inventory.components):
        used = not component.features or set(component.features) & set(inventory.features)
        if used and not inventory.with_role(component.role):
            wrong = f"{component.name} is in use, but there is no machine with the role {component.role}"
            yield Finding(("components", index, "role"), wrong, "machines of this role, or the feature not in use")


def features_known(inventory: Inventory) -> Iterator[Finding]:
    """Each feature in use switches some component on: otherwise it is mistyped, and software would be left running."""
    known = {feature for component in inventory.components for feature in component.features}
    entries: list[tuple[Path, str]] = [(("features", index), name) for index, name in enumerate(inventory.features)]
    yield from repeated(entries, "feature")
    for path, name in entries:
        if name not in known:
            wrong = f"no component belongs to the feature {name!r}"
            yield Finding(path, wrong, one_of(sorted(known), name))


def daemon_has_machines(inventory: Inventory) -> Iterator[Finding]:
    """Commands that move AcdGroupDistribute need telephony machines to move it between."""
    if inventory.daemon.commands and not inventory.with_role(Role.TELEPHONY):
        wrong = f"there is no machine with the role {Role.TELEPHONY} among {len(machine_names(inventory))} machines"
        yield Finding(("daemon", "commands"), wrong, "no commands, or telephony machines")


def daemon_answers(inventory: Inventory) -> Iterator[Finding]:
    """Running and stopped can be told apart."""
    commands = inventory.daemon.commands
    if commands is None or commands.stopped is None:
        return
    running, stopped = commands.running, commands.stopped
    if running in stopped or stopped in running:
        wrong = f"{running!r} and {stopped!r} can't be told apart: one is a part of the other"
        allowed = "longer parts of the answers, of which none holds the other"
        yield Finding(("daemon", "commands", "running"), wrong, allowed)


CHECKS = (
    names,
    services_named,
    instructions_given,
    by_hand_machines,
    order_known,
    manager_fits,
    machines_exist,
    features_known,
    daemon_has_machines,
    daemon_answers,
)
