"""From the reference inventory to one of the real lab: the same machines and addresses, own keys and secrets."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import asyncssh
import yaml

from inventory.loading import load
from inventory.models import CommandPower, Inventory
from lab.addresses import Site
from lab.certificates import CertificateAuthority, ServerCertificate

REFERENCE = Path(__file__).parents[2] / "deploy" / "inventories" / "reference.yaml"
MONITOR = "acd-mon"
"""The host with the monitoring servers; it belongs to neither side."""
MONITOR_ADDRESS = "10.77.0.5"
STATEFUL = "stateful_r0-clone"
"""Stands in for DRBD: promoted and demoted like it, without data."""
_NAGIOS = {
    "provider": "nagios",
    "address": MONITOR_ADDRESS,
    "connection": "linux",
    "host_names": {"acd-jb1": "acd-jb1.example.com"},
}
"""One machine is called otherwise there, as on many sites."""
# No kernel module, so no DRBD: the pair says so, and everything about DRBD reads "not applicable".
_STORAGE = {"drbd": None, "promotable": STATEFUL}
_TIMINGS = {
    "connect": 5,
    "command": 30,
    "poll": 0.2,
    "stop": 60,
    "start": 60,
    "drain": 120,
    "move": 60,
    "shutdown": 60,
    "boot": 90,
    "catch_up": 120,
    "replication": 60,
    "healthy": 60,
}
_EXPECTED = {"expected_stop": 2, "expected_start": 4}


@dataclass(frozen=True)
class Options:
    """What can be different from site to site.

    Attributes:
        haproxy: a plain service on both load balancers, or a clone under Pacemaker.
        replication: by global transaction ids, or by file and position.
        monitoring: who tells people that something is down.
        probe: seconds between two measurements of the outage, which is told late by up to so much at either end.
    """

    haproxy: Literal["service", "clone"] = "service"
    replication: Literal["gtid", "positions"] = "gtid"
    monitoring: Literal["alertmanager", "nagios"] = "alertmanager"
    probe: float = 0.5


@dataclass(frozen=True)
class RealSite:
    """Everything that hosts and product have to agree on."""

    common: Site
    options: Options
    authority: CertificateAuthority
    certificates: Mapping[str, ServerCertificate]
    """Of the load balancers' admin pages, by machine."""
    internal: Mapping[str, str]
    """Passwords that the product never sees: of replication, application and backup."""

    @property
    def inventory(self) -> Inventory:
        """The derived inventory."""
        return self.common.inventory


def derive(directory: Path, options: Options) -> RealSite:
    """Derive the inventory; write it with keys and secrets into `directory` (mode 0700).

    Raises:
        OSError: the directory can't be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    (directory / "tls").mkdir(exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = directory / "id_ed25519"
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.export_private_key())
    environment: dict[str, str] = {}
    passwords: dict[str, str] = {}

    def secret(reference: str) -> str:
        passwords.setdefault(reference, secrets.token_urlsafe(18))
        environment[reference.removeprefix("env:")] = passwords[reference]
        return reference

    data = _derived(load(REFERENCE), directory, secret)
    if options.monitoring == "nagios":
        data["monitoring"] = _NAGIOS
    data["timings"]["probe"] = timedelta(seconds=options.probe)
    inventory = Inventory.model_validate(data)
    site = Site(directory, inventory, key, environment, passwords)
    told = inventory.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    header = "# Derived for real hosts in namespaces on this machine.\n"
    site.inventory_path.write_text(header + yaml.safe_dump(told, sort_keys=False, width=120), encoding="utf-8")
    site.known_hosts.write_text("".join(_known_hosts(site)), encoding="utf-8")
    authority = CertificateAuthority(directory / "tls", "Real lab authority")
    balancers = [inventory.machine(name) for name in inventory.pairs.load_balancer.machines]
    return RealSite(
        common=site,
        options=options,
        authority=authority,
        certificates={machine.name: authority.issue(machine.address, name=machine.name) for machine in balancers},
        internal={name: secrets.token_urlsafe(18) for name in ("repl", "app", "failover_backup")},
    )


def _derived(original: Inventory, directory: Path, secret: Callable[[str], str]) -> dict[str, Any]:
    data: dict[str, Any] = original.model_dump(exclude_unset=True)
    ca = str(directory / "tls" / "ca.pem")
    for connection in data["connections"].values():
        if connection["kind"] == "ssh":
            connection |= {"key": f"file:{directory / 'id_ed25519'}", "known_hosts": str(directory / "known_hosts")}
        else:
            connection |= {"password": secret(connection["password"]), "ca": ca}
    data["pairs"]["storage"] |= _STORAGE
    for pair in data["pairs"].values():
        pair["expected_move"] = timedelta(seconds=3)
    data["database"]["password"] = secret(data["database"]["password"])
    page = data["haproxy"]["admin_page"]
    page |= {"password": secret(page["password"]), "tls": {"ca": ca}}
    data["haproxy"]["check_interval"] = timedelta(seconds=1)
    for component in data["components"]:
        component |= {name: timedelta(seconds=seconds) for name, seconds in _EXPECTED.items()}
    data["backup"]["expected"] = timedelta(seconds=3)
    data["daemon"]["expected"] = timedelta(seconds=2)
    data["timings"] = {name: timedelta(seconds=seconds) for name, seconds in _TIMINGS.items()}
    # Those who are told are real people.
    data.pop("notifications", None)
    return data


def addresses(inventory: Inventory) -> dict[str, str]:
    """Where hosts are reached by SSH, by name."""
    places = {m.name: m.address for m in inventory.machines if m.os == "linux"}
    places |= {host.name: host.power.address for host in inventory.vm_hosts if isinstance(host.power, CommandPower)}
    return {**places, MONITOR: MONITOR_ADDRESS}


def _known_hosts(site: Site) -> list[str]:
    lines = []
    for name, address in addresses(site.inventory).items():
        algorithm, key = site.host_key(name).export_public_key().decode().split()[:2]
        lines.append(f"{address} {algorithm} {key}\n")
    return lines
