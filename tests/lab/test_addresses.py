"""Any inventory becomes one on loopback that the product accepts."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from inventory.loading import load
from inventory.models import CommandPower, HttpProbe, Inventory, SshConnection
from inventory.notifications import Notifications, Webhook
from lab.addresses import Site, derive


@pytest.fixture
def site(reference: Inventory, tmp_path: Path) -> Iterator[Site]:
    site = derive(reference, tmp_path / "lab", speed=20)
    yield site
    site.close()


def test_the_derived_inventory_is_accepted(site: Site) -> None:
    assert load(site.inventory_path) == site.inventory


def test_every_machine_has_an_address_of_its_own_on_loopback(site: Site) -> None:
    inventory = site.inventory
    addresses = [machine.address for machine in inventory.machines]
    addresses += [pair.address for pair in (inventory.pairs.storage, inventory.pairs.load_balancer)]
    addresses += [host.power.address for host in inventory.vm_hosts if isinstance(host.power, CommandPower)]
    assert len(set(addresses)) == len(addresses) == 24
    assert all(ip_address(address) in ip_network("127.0.0.0/8") for address in addresses)
    assert len({address.rpartition(".")[0] for address in addresses}) == 1


def test_two_labs_share_no_address(reference: Inventory, tmp_path: Path) -> None:
    sites = [derive(reference, tmp_path / name, speed=20) for name in ("a", "b")]
    first, second = ({machine.address for machine in site.inventory.machines} for site in sites)
    for site in sites:
        site.close()
    assert not first & second


def test_secrets_are_made_up_and_kept_from_others(site: Site, reference: Inventory) -> None:
    assert set(site.environment) == {
        "FAILOVER_WINDOWS_PASSWORD",
        "FAILOVER_DATABASE_PASSWORD",
        "FAILOVER_HAPROXY_PASSWORD",
    }
    assert stat.S_IMODE(site.directory.stat().st_mode) == 0o700
    connection = site.inventory.connections["linux"]
    assert isinstance(connection, SshConnection)
    assert connection.key == f"file:{site.directory}/id_ed25519"
    assert stat.S_IMODE((site.directory / "id_ed25519").stat().st_mode) == 0o600
    text = site.inventory_path.read_text(encoding="utf-8")
    assert not any(secret in text for secret in site.secret_texts())
    assert len(site.secret_texts()) > 3


def test_a_secret_in_a_file_gets_a_file(reference: Inventory, tmp_path: Path) -> None:
    database = reference.database.model_copy(update={"password": "file:/etc/failover/database password"})
    site = derive(reference.model_copy(update={"database": database}), tmp_path / "lab", speed=20)
    site.close()
    path = Path(site.inventory.database.password.removeprefix("file:"))
    assert path.is_relative_to(site.directory)
    assert path.read_text(encoding="utf-8").strip() == site.passwords[f"file:{path}"]
    assert load(site.inventory_path) == site.inventory


def test_nobody_real_is_told(reference: Inventory, tmp_path: Path) -> None:
    webhook = Webhook(name="on-call", url="https://hooks.example.com/failover", secret="env:FAILOVER_WEBHOOK_SECRET")
    told = Notifications(targets=(webhook,))
    site = derive(reference.model_copy(update={"notifications": told}), tmp_path / "lab", speed=20)
    site.close()
    assert site.inventory.notifications == Notifications()
    assert "example.com" not in site.inventory_path.read_text(encoding="utf-8")
    assert "FAILOVER_WEBHOOK_SECRET" not in site.environment


def test_ports_of_root_are_moved_and_others_kept(site: Site) -> None:
    assert {machine.port for machine in site.inventory.machines} == {5986, 10022}
    assert site.inventory.database.port == 3306
    assert all(port >= 1024 for port in site.frontends.values())


def test_probes_find_the_backend_they_are_named_after(site: Site) -> None:
    urls = {probe.name: probe.url for probe in site.inventory.probes if isinstance(probe, HttpProbe)}
    vip = site.inventory.pairs.load_balancer.address
    assert urls["portal-login"] == f"http://{vip}:{site.frontends['web']}/CarrierPortal/login"
    assert urls["soap"].startswith(f"http://{vip}:{site.frontends['soap']}/")
    assert urls["rest-api"].startswith(f"http://{vip}:{site.frontends['api']}/")
    assert site.pages["web"]["/CarrierPortal/login"].text == "login"


def test_times_are_shortened_but_not_below_what_protocols_need(site: Site, reference: Inventory) -> None:
    timings = site.inventory.timings
    assert timings.drain == reference.timings.drain / 20
    assert timings.connect >= timedelta(seconds=3)
    assert timings.poll < reference.timings.poll
    assert site.inventory.pairs.storage.expected_move == timedelta(seconds=2)


def test_real_time_stays_real_time(reference: Inventory, tmp_path: Path) -> None:
    site = derive(reference, tmp_path / "lab", speed=1)
    site.close()
    assert site.inventory.timings == reference.timings
    assert site.inventory.components == reference.components
