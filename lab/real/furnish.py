"""What each host of the cluster has: accounts, services, and their configuration."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventory.models import CommandPower, HttpProbe, Inventory, Machine, Role
from lab.real import monitoring, network, pacemaker
from lab.real.files import Files
from lab.real.host import HostPlan
from lab.real.site import MONITOR, MONITOR_ADDRESS, RealSite

_HERE = Path(__file__).parent
_DEPLOY = Path(__file__).parents[2] / "deploy"
SCHEMA = "jtel"
FRONTENDS = {"web": 80, "soap": 8090, "chat": 3000, "api": 8088, "db": 3306}
"""Port of each backend of the reference inventory on the load balancers' address, as its probes say."""
_PORTS = {"web": 8080, "soap": 8090, "chat": 3000, "api": 8088}
"""Port of its servers."""
_UNITS = {
    Role.WEB: "wildfly",
    Role.CHAT: "jtel-clientmessenger",
    Role.API: "jtelrest",
    Role.DATABASE_MASTER: "jtel-listener",
}
_SESSIONS = 2
"""Database sessions that each application machine keeps open."""
_SERVER_PATH = "/usr/local/lib/lab-service"
_FAILOVER = "failover"


@dataclass(frozen=True)
class Durations:
    """Seconds that the small services take."""

    start: float = 3.0
    stop: float = 0.5


def plans(inventory: Inventory) -> list[HostPlan]:
    """All hosts: Linux machines, both VM-Hosts, the monitoring server. Windows machines are simulated beside them."""
    site_of = {host.name: number for number, host in enumerate(inventory.vm_hosts, 1)}
    places = [(m.name, site_of[m.host], m.address) for m in inventory.machines if m.os == "linux"]
    for host in inventory.vm_hosts:
        assert isinstance(host.power, CommandPower)
        places.append((host.name, site_of[host.name], host.power.address))
    places.append((MONITOR, 1, MONITOR_ADDRESS))
    return [
        HostPlan(name, number, site, f"{address}/{network.NETWORK.prefixlen}")
        for number, (name, site, address) in enumerate(places, 1)
    ]


class Furnisher:
    """Writes the files of every host."""

    def __init__(self, site: RealSite, image: Path, durations: Durations) -> None:
        self._site = site
        self._inventory = site.inventory
        self._image = image
        self._durations = durations
        pairs = self._inventory.pairs
        self._storage = pacemaker.Nodes.of(self._inventory, "storage", pairs.storage)
        self._balancer = pacemaker.Nodes.of(self._inventory, "balancer", pairs.load_balancer)
        self._machines = {machine.name: machine for machine in self._inventory.machines}

    def furnish(self, name: str, upper: Path) -> None:
        """Write the files of a host that has never run."""
        files = Files(self._image, upper)
        self._common(files, name)
        machine = self._machines.get(name)
        if name == MONITOR:
            monitoring.furnish(files, self._inventory)
        elif machine is None:
            files.write("/usr/bin/virsh", (_HERE / "virsh.sh").read_bytes(), 0o755)
        else:
            self._machine(files, machine)

    def _common(self, files: Files, name: str) -> None:
        site = self._site.common
        key = site.host_key(name)
        files.write("/etc/hostname", f"{name}\n")
        # Without one systemd takes it for a first boot, and switches services on as their packages wish.
        files.write("/etc/machine-id", f"{hashlib.sha256(name.encode()).hexdigest()[:32]}\n", 0o444)
        files.write("/etc/hosts", self._hosts())
        files.write("/etc/ssh/ssh_host_ed25519_key", key.export_private_key(), 0o600)
        files.write("/etc/ssh/ssh_host_ed25519_key.pub", key.export_public_key())
        files.write("/etc/ssh/sshd_config.d/lab.conf", "HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\n")
        account = f"{_FAILOVER}:{_FAILOVER}"
        files.folder(f"/home/{_FAILOVER}/.ssh", 0o700, account)
        key_line = b"restrict " + site.client_key.export_public_key()
        files.write(f"/home/{_FAILOVER}/.ssh/authorized_keys", key_line, 0o600, account)
        files.write("/etc/sudoers.d/controlled-failover", _sudoers(), 0o440)
        files.enable("ssh.service")

    def _hosts(self) -> str:
        lines = ["127.0.0.1 localhost", f"{MONITOR_ADDRESS} {MONITOR}"]
        lines += [f"{machine.address} {machine.name}" for machine in self._inventory.machines]
        # sudo complains where a host does not know its own name.
        lines += [f"{h.power.address} {h.name}" for h in self._inventory.vm_hosts if isinstance(h.power, CommandPower)]
        return "\n".join(lines) + "\n"

    # --- machines ----------------------------------------------------------------------------------------------------

    def _machine(self, files: Files, machine: Machine) -> None:
        if machine.role in _UNITS:
            self._software(files, machine, _UNITS[machine.role])
        if machine.role in (Role.DATABASE_MASTER, Role.DATABASE_REPLICA):
            self._database(files, machine)
        if machine.role is Role.STORAGE:
            pacemaker.furnish(files, self._storage, pacemaker.storage_cib(self._inventory, self._storage))
            self._share(files)
        if machine.role is Role.LOAD_BALANCER:
            cib = pacemaker.balancer_cib(self._inventory, self._balancer, self._site.options)
            pacemaker.furnish(files, self._balancer, cib)
            self._balance(files, machine)
        if machine.role in (Role.STORAGE, Role.LOAD_BALANCER):
            files.write("/usr/sbin/fence_lab", (_HERE / "fence_lab.py").read_bytes(), 0o755)

    def _software(self, files: Files, machine: Machine, unit: str) -> None:
        settings = {
            "name": machine.name,
            "start_seconds": self._durations.start,
            "stop_seconds": self._durations.stop,
            "ports": self._ports_of(machine),
            "database": self._database_settings() if machine.role is not Role.DATABASE_MASTER else None,
        }
        files.write(f"{_SERVER_PATH}.py", (_HERE / "service.py").read_bytes(), 0o755)
        files.write(f"{_SERVER_PATH}.json", json.dumps(settings), 0o640, "root:wildfly")
        files.write(
            f"/etc/systemd/system/{unit}.service", _unit(unit, f"{_SERVER_PATH}.py {_SERVER_PATH}.json", "wildfly")
        )
        files.enable(f"{unit}.service")

    def _ports_of(self, machine: Machine) -> dict[str, Any]:
        ports: dict[str, Any] = {}
        for backend in self._inventory.haproxy.backends:
            if backend.kind == "application" and machine.name in backend.servers.values():
                ports[str(_PORTS[backend.name])] = self._pages(FRONTENDS[backend.name])
        return ports

    def _pages(self, port: int) -> dict[str, Any]:
        """What the inventory's probes look for on a port."""
        pages: dict[str, Any] = {}
        for probe in self._inventory.probes:
            if isinstance(probe, HttpProbe):
                place, _, path = probe.url.partition("//")[2].partition("/")
                if int(place.partition(":")[2] or 80) == port:
                    pages[f"/{path.partition('?')[0]}"] = [probe.status, probe.contains or "ok"]
        return pages

    def _database_settings(self) -> dict[str, Any]:
        return {
            "address": self._inventory.pairs.load_balancer.address,
            "port": FRONTENDS["db"],
            "user": "app",
            "password": self._site.internal["app"],
            "schema": SCHEMA,
            "sessions": _SESSIONS,
        }

    def _database(self, files: Files, machine: Machine) -> None:
        replica = machine.role is Role.DATABASE_REPLICA
        masters = self._inventory.with_role(Role.DATABASE_MASTER)
        number = 1 + [m.name for m in (*masters, *self._inventory.with_role(Role.DATABASE_REPLICA))].index(machine.name)
        files.write(
            "/etc/mysql/mariadb.conf.d/99-lab.cnf",
            "[mariadbd]\n"
            f"server_id = {number}\ngtid_domain_id = {number}\nreport_host = {machine.name}\n"
            "log_bin = binlog\nlog_slave_updates = on\nrelay_log = relay\n"
            # Two masters never give the same number.
            f"auto_increment_increment = 2\nauto_increment_offset = {1 + (number + 1) % 2}\n"
            f"read_only = {'on' if replica else 'off'}\nslave_net_timeout = 10\n",
        )
        backup = f"[client]\nuser=failover_backup\npassword={self._site.internal['failover_backup']}\n"
        files.write(self._inventory.backup.defaults_file, backup, 0o400)
        files.folder(self._inventory.backup.directory, 0o700)
        files.enable("mariadb.service")

    def _share(self, files: Files) -> None:
        """The two folders of the file system that moves, and something that answers where Samba would."""
        files.folder(pacemaker.SHARE)
        files.folder(self._inventory.pairs.storage.mount or "/srv/acd")
        listener = "/usr/bin/socat TCP-LISTEN:445,reuseaddr,fork SYSTEM:true"
        files.write(
            "/etc/systemd/system/lab-samba.service", _unit("stand-in for Samba", listener, "root", kind="simple")
        )
        files.enable("lab-samba.service")

    def _balance(self, files: Files, machine: Machine) -> None:
        files.write("/etc/haproxy/haproxy.cfg", self._haproxy(), 0o640, "root:haproxy")
        files.write("/etc/haproxy/lab.pem", self._site.certificates[machine.name].pem.read_bytes(), 0o600)
        if self._site.options.haproxy == "service":
            files.enable("haproxy.service")

    def _haproxy(self) -> str:
        inventory = self._inventory
        page = inventory.haproxy.admin_page
        assert page is not None and inventory.haproxy.socket is not None  # noqa: PT018 - of the reference inventory
        password = self._site.common.passwords[page.password]
        inter = int(inventory.haproxy.check_interval.total_seconds() * 1000)
        sections = [
            "global\n"
            "    chroot /var/lib/haproxy\n    user haproxy\n    group haproxy\n    nbthread 1\n    maxconn 2000\n"
            f"    stats socket {inventory.haproxy.socket.path} mode 660 level admin\n    stats timeout 30s\n"
            "defaults\n"
            "    timeout connect 2s\n    timeout client 1h\n    timeout server 1h\n    timeout check 2s\n"
            f"    default-server inter {inter}ms fall 2 rise 2\n"
            "listen stats\n"
            f"    mode http\n    bind *:{page.port} ssl crt /etc/haproxy/lab.pem\n"
            f"    stats enable\n    stats uri {page.path}\n    stats show-legends\n    stats show-node\n"
            f"    stats auth {page.user}:{password}\n    stats admin if {{ src {network.CONTROLLER} }}\n"
        ]
        for backend in inventory.haproxy.backends:
            database = backend.kind == "database"
            mode = "tcp" if database else "http"
            rules = (
                "    option mysql-check user haproxy_check\n"
                if database
                else "    balance roundrobin\n    option httpchk GET /health\n"
            )
            lines = []
            for server, name in backend.servers.items():
                machine = inventory.machine(name)
                port = inventory.database.port if database else _PORTS[backend.name]
                last = " backup" if machine.normal == "standby" else ""
                lines.append(f"    server {server} {machine.address}:{port} check{last}\n")
            sections.append(
                f"frontend fe_{backend.name}\n    mode {mode}\n    bind *:{FRONTENDS[backend.name]}\n"
                f"    default_backend {backend.name}\n"
                f"backend {backend.name}\n    mode {mode}\n{rules}{''.join(lines)}"
            )
        return "\n".join(sections)


def _unit(what: str, command: str, user: str, kind: str = "notify") -> str:
    return (
        f"[Unit]\nDescription={what}\nAfter=network.target\n"
        f"[Service]\nType={kind}\nUser={user}\nExecStart={command}\nTimeoutStopSec=60\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _sudoers() -> bytes:
    return (_DEPLOY / "sudoers.d" / "controlled-failover").read_bytes()
