"""Settings: file and environment, and everything that is wrong at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from inventory.loading import load as load_inventory
from worker.settings import BadSettings, Settings, load, refuse_unknown, split_address

ROOT = Path(__file__).parents[2]


def test_defaults_bind_to_this_machine_alone() -> None:
    settings = load({"FAILOVER_INVENTORY": "cluster.yaml"})
    assert settings == Settings(inventory=Path("cluster.yaml"))
    assert settings.metrics.startswith("127.0.0.1:")
    assert settings.health.startswith("127.0.0.1:")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text(
        "inventory = 'a.yaml'\nlog_format = 'text'\ngraceful_shutdown = '2m'\nmax_concurrent_activities = 27\n"
    )
    settings = load({"FAILOVER_SETTINGS": str(file), "FAILOVER_INVENTORY": "b.yaml", "FAILOVER_METRICS": ""})
    assert settings.inventory == Path("b.yaml")
    assert settings.metrics == ""
    assert (settings.log_format, settings.max_concurrent_activities) == ("text", 27)
    assert settings.graceful_shutdown == timedelta(minutes=2)


def test_everything_wrong_is_told_at_once_with_what_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "worker.toml"
    file.write_text("inventry = 'a.yaml'\nmax_concurrent_activities = 19\n")
    with pytest.raises(BadSettings) as caught:
        load({"FAILOVER_LOG_FORMAT": "xml", "FAILOVER_HEALTH": "everywhere", "FAILOVER_GRACEFUL_SHUTDOWN": "30"}, file)
    told = str(caught.value)
    for said in (
        f"{file}: inventory: missing; allowed: the path of an inventory file (set FAILOVER_INVENTORY",
        f"{file}: inventry: unknown; allowed: inventory, metrics",
        "max_concurrent_activities: Input should be greater than or equal to 20; allowed: a whole number from 20",
        "FAILOVER_LOG_FORMAT: Input should be 'json' or 'text'; allowed: json, text",
        "FAILOVER_HEALTH: 'everywhere' is no address; allowed: HOST:PORT",
        "FAILOVER_GRACEFUL_SHUTDOWN: '30' is no duration; allowed: for example 30s",
    ):
        assert said in told
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize("content", [b"inventory = ", b"\xff\xfe\x00"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "worker.toml"
    file.write_bytes(content)
    with pytest.raises(BadSettings, match="no TOML"):
        load({}, file)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadSettings, match="No such file"):
        load({}, Path("/nowhere/worker.toml"))


@pytest.mark.parametrize("address", ["", "https://temporal.example", "http://[::1]:8233/ui/"])
def test_where_the_web_ui_is(address: str) -> None:
    assert load({"FAILOVER_INVENTORY": "x", "FAILOVER_WEB_UI": address}).web_ui == address


@pytest.mark.parametrize("address", ["temporal.example", "https://me:hunter2@temporal.example", "javascript:alert(1)"])
def test_what_is_no_address_of_a_web_ui(address: str) -> None:
    with pytest.raises(BadSettings, match="FAILOVER_WEB_UI: no address of a web page") as caught:
        load({"FAILOVER_INVENTORY": "x", "FAILOVER_WEB_UI": address})
    assert "hunter2" not in str(caught.value)


def test_a_mistyped_variable_is_refused_and_a_secret_is_not() -> None:
    inventory = load_inventory(ROOT / "deploy" / "inventories" / "reference.yaml")
    refuse_unknown({"FAILOVER_INVENTORY": "x", "FAILOVER_DATABASE_PASSWORD": "s", "PATH": "/"}, inventory)
    with pytest.raises(BadSettings, match="FAILOVER_HEATH: no setting") as caught:
        refuse_unknown({"FAILOVER_HEATH": "secret-value"}, inventory)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:9465", ("127.0.0.1", 9465)), ("[::1]:80", ("::1", 80)), ("worker-1:1", ("worker-1", 1))],
)
def test_bind_addresses(address: str, parts: tuple[str, int]) -> None:
    assert load({"FAILOVER_INVENTORY": "x", "FAILOVER_HEALTH": address}).health == address
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["9465", ":9465", "host:", "host:70000", "http://host:80", "a b:1"])
def test_no_bind_addresses(address: str) -> None:
    with pytest.raises(BadSettings, match="is no address"):
        load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": address})


@pytest.mark.parametrize("address", ["localhost:9464", "worker-1:9464", "127.0.0.999:9464"])
def test_a_name_that_the_metrics_can_not_be_served_on_is_a_bad_setting(address: str) -> None:
    with pytest.raises(BadSettings, match=r"FAILOVER_METRICS: .* has a name for its host; allowed: IP:PORT"):
        load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": address})
    assert load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": "[::1]:80"}).metrics == "[::1]:80"


@pytest.mark.parametrize(
    "addresses",
    [
        {"FAILOVER_METRICS": "127.0.0.1:9465"},
        {"FAILOVER_HEALTH": "127.0.0.1:9464"},
        {"FAILOVER_METRICS": "0.0.0.0:9465"},
        {"FAILOVER_METRICS": "[::]:80", "FAILOVER_HEALTH": "worker-1:80"},
    ],
)
def test_metrics_and_health_on_one_address_are_a_bad_setting(addresses: dict[str, str]) -> None:
    with pytest.raises(BadSettings, match=r"FAILOVER_HEALTH: .* is taken by metrics"):
        load({"FAILOVER_INVENTORY": "x", **addresses})


def test_one_port_on_two_addresses_and_free_ports_are_allowed() -> None:
    load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": "127.0.0.1:80", "FAILOVER_HEALTH": "10.0.0.1:80"})
    load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": "127.0.0.1:0", "FAILOVER_HEALTH": "127.0.0.1:0"})
    load({"FAILOVER_INVENTORY": "x", "FAILOVER_METRICS": "", "FAILOVER_HEALTH": ""})
