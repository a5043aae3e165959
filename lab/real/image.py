"""The file system that all hosts share: Debian with the real daemons, built once from Debian's packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

_SUITE = "bookworm"
_PACKAGES = """
    systemd systemd-sysv dbus libpam-systemd mount openssh-server sudo procps
    iproute2 iputils-ping iputils-arping kmod psmisc
    pacemaker pacemaker-cli-utils corosync pcs resource-agents pacemaker-resource-agents
    haproxy socat mariadb-server mariadb-client python3 python3-pymysql ca-certificates
    nagios4-core monitoring-plugins-basic prometheus-alertmanager
"""
# Nothing of this starts by itself: each host switches on what it has.
_SERVICES = """
    haproxy.service mariadb.service corosync.service corosync-notifyd.service pacemaker.service pcsd.service
    pcsd-ruby.service crm_mon.service nagios4.service prometheus-alertmanager.service ssh.service e2scrub_reap.service
    systemd-pstore.service logd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    fstrim.timer exim4-base.timer
"""
# A host shares this machine's kernel and clock, and must not touch them. Nobody writes mail there either: Debian's
# packages bring a server for it along, which would take a second of each boot.
_MASKED = """
    exim4.service systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount
    sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount getty.target console-getty.service ssh.socket
"""
_JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\nForwardToSyslog=no\n"
_MARIADB = """[mariadbd]
bind_address = 0.0.0.0
skip_name_resolve
performance_schema = off
innodb_buffer_pool_size = 24M
innodb_log_file_size = 8M
innodb_flush_log_at_trx_commit = 2
key_buffer_size = 1M
"""
_ACCOUNTS = ("failover", "wildfly", "jtel")


_NO_INDEX = "apt-get update"
"""What fails where no archive is reached; of a package that is not there it is the installation."""


class ImageError(Exception):
    """The image can't be built."""


class ArchiveError(ImageError):
    """No archive of Debian is reached from here."""


def image(home: Path) -> Path:
    """The image; built if it isn't there. About 60 s and 700 MiB the first time.

    Raises:
        ArchiveError: no archive of Debian is reached.
        ImageError: a package or a tool is missing; with the end of what was said.
    """
    found = home / f"image-{_digest()}"
    if found.exists():
        return found
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("image-*"):
        if old.is_symlink():
            old.unlink()
        else:
            shutil.rmtree(old)
    building = home / f"image-{_digest()}.building"
    if building.exists():
        shutil.rmtree(building)
    _install(building)
    _furnish(building)
    building.rename(found)
    return found


def _digest() -> str:
    """Of everything that the image is made from."""
    recipe = (_SUITE, _PACKAGES, _SERVICES, _MASKED, _JOURNAL, _MARIADB, _ACCOUNTS)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _install(target: Path) -> None:
    without = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    # This machine's own mirror where it is a Debian of the same age; Debian's else.
    here = [str(sources)] if sources.exists() and _SUITE in sources.read_text(encoding="utf-8") else []
    options = ["--quiet", "--variant=minbase", '--aptopt=Acquire::Languages "none"', *without]
    packages = ",".join(_PACKAGES.split())
    try:
        _run(["mmdebstrap", *options, f"--include={packages}", _SUITE, str(target), *here])
    except ImageError as error:
        if _NO_INDEX in str(error):
            raise ArchiveError(str(error)) from error
        raise


def _furnish(target: Path) -> None:
    for link in (target / "etc/systemd/system").glob("*.wants/*"):
        # Asked for by name: the link points to a unit of the image, not of this machine, so it looks broken here.
        if link.name in _SERVICES.split():
            link.unlink()
    for name in _MASKED.split():
        unit = target / "etc/systemd/system" / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")
    write(target / "etc/systemd/journald.conf.d/lab.conf", _JOURNAL)
    write(target / "etc/mysql/mariadb.conf.d/90-lab.cnf", _MARIADB)
    for account in _ACCOUNTS:
        _chroot(target, "useradd", "--create-home", "--shell", "/bin/sh", account)
    # Debian's example of a cluster of one node: the lab writes its own.
    for leftover in ("etc/corosync/corosync.conf", "etc/machine-id", "var/lib/dbus/machine-id"):
        (target / leftover).unlink(missing_ok=True)
    for folder in ("var/lib/pacemaker/cib", "etc/ssh"):
        for file in (target / folder).glob("cib*" if folder.endswith("cib") else "ssh_host_*"):
            file.unlink()
    _database(target)


def _database(target: Path) -> None:
    shutil.rmtree(target / "var/lib/mysql")
    by_socket = "--auth-root-authentication-method=socket"
    _chroot(target, "mariadb-install-db", "--force", "--user=mysql", "--skip-test-db", by_socket)


def _chroot(target: Path, *argv: str) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    _run(["chroot", str(target), *argv], environment)


def _run(argv: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment or dict(os.environ))
    if done.returncode != 0:
        raise ImageError(f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file of a host, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
