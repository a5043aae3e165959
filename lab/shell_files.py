"""Files and the database dump on the command line of a simulated Linux machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from lab.machines import File
from lab.shell import Answer, Call, Handler, Shell
from lab.shell_pairs import PairCommands

_DUMP_HEAD = "-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)\n--\n"
_DUMP_ROW = "INSERT INTO `Calls` VALUES (1,'2026-11-22 10:00:00','simulated row, nobody was called');\n"
_DUMP_ROWS = 1000
# How long machines have been on when the simulation begins.
_ON_BEFORE_SECONDS = 86_400.0
_FREE_BYTES = 107_374_182_400
_DIRECTORIES = ("/", "/tmp", "/root", "/var/tmp", "/run", "/run/lock", "/var/lock", "/var/run", "/etc/failover")


@dataclass(frozen=True)
class _Locking:
    """What `flock` is asked to do."""

    file: str
    command: list[str]
    patience: float | None
    """Seconds of the wall clock, as they stand in the command; None: for ever."""
    conflict: int


def _locking(call: Call) -> _Locking | None:
    """None: it is asked for something that is not simulated."""
    args, conflict, patience = [*call.args], 1, None
    while args and args[0].startswith("-"):
        option, _, value = args.pop(0).partition("=")
        if option in ("-n", "--nonblock", "--nb"):
            patience = 0.0
        elif option in ("-w", "--wait", "--timeout"):
            patience = float(value or args.pop(0))
        elif option in ("-E", "--conflict-exit-code"):
            conflict = int(value or args.pop(0))
        else:
            return None
    return _Locking(args[0], args[1:], patience, conflict) if len(args) > 1 else None


class FileCommands:
    """Files of one machine."""

    def __init__(self, shell: Shell, pairs: PairCommands) -> None:
        self._shell = shell
        self._world = shell.world
        self._state = shell.world.machines[shell.machine]
        self._pairs = pairs
        self._alone: set[asyncio.Task[Answer]] = set()

    def handlers(self) -> dict[str, Handler]:
        """By name."""
        return {
            "cat": self._cat,
            "df": self._df,
            "flock": self._flock,
            "ls": self._ls,
            "mv": self._mv,
            "mysqldump": self._mysqldump,
            "mariadb-dump": self._mysqldump,
            "rm": self._rm,
            "sha256sum": self._sha256sum,
            "stat": self._stat,
            "tail": self._tail,
            "test": self._test,
        }

    def _directory(self, path: str) -> bool:
        own = (self._world.inventory.backup.directory,) if self._state.files else ()
        return path.rstrip("/") in (*_DIRECTORIES, *own) or path == "/"

    def _missing(self, call: Call, path: str) -> Answer:
        how = {"stat": "cannot statx", "tail": "cannot open", "mv": "cannot stat", "rm": "cannot remove"}
        where = {"tail": f"'{path}' for reading"}.get(call.name, f"'{path}'")
        words = f"{how[call.name]} {where}" if call.name in how else path
        return Answer(1, stderr=f"{call.name}: {words}: No such file or directory\n")

    async def _cat(self, call: Call) -> Answer:
        path = call.plain()[0] if call.plain() else ""
        seconds = self._world.clock.now() - self._state.booted + _ON_BEFORE_SECONDS
        special = {
            "/proc/drbd": self._pairs.proc_drbd(),
            "/proc/sys/kernel/random/boot_id": f"{self._state.boot_id}\n",
            "/proc/uptime": f"{seconds:.2f} {seconds:.2f}\n",
        }
        if special.get(path) is not None:
            return Answer(stdout=str(special[path]))
        file = self._state.files.get(path)
        return Answer(stdout=file.text) if file else self._missing(call, path)

    async def _mysqldump(self, call: Call) -> Answer:
        path = call.option("--result-file") or call.option("-r")
        if path is None:
            return self._shell.unknown(call.text, "mysqldump: only --result-file is simulated")
        if not self._state.running("mariadb"):
            return Answer(
                2, stderr='mysqldump: Got error: 2002: "Can\'t connect to local server" when trying to connect\n'
            )
        if not call.root:
            return Answer(1, stderr="mysqldump: Could not open required defaults file: Permission denied\n")
        if not self._directory(path.rpartition("/")[0] or "/"):
            problem = f"Can't create/write to file '{path}' (Errcode: 2 \"No such file or directory\")"
            return Answer(1, stderr=f"mysqldump: {problem}\n")
        self._world.journal.write(self._shell.machine, f"mysqldump {path}")
        return await self._dump(path)

    async def _dump(self, path: str) -> Answer:
        boot = self._state.boot_id
        file = self._state.files[path] = File(_DUMP_HEAD, complete=False)
        self._world.changed(self._shell.machine, "dump begins")
        await self._world.sleep(self._world.durations.dump / 2)
        if self._killed(boot):
            return Answer(137)
        file.text += _DUMP_ROW * (_DUMP_ROWS // 2)
        if self._world.faults.holds("disk_full", self._shell.machine):
            return Answer(5, stderr="mysqldump: Got errno 28 on write\n")
        await self._world.sleep(self._world.durations.dump / 2)
        if self._killed(boot):
            return Answer(137)
        if not self._world.faults.holds("dump_truncated", self._shell.machine):
            file.text += _DUMP_ROW * (_DUMP_ROWS // 2)
            # A site's own minimum may be large: the simulated file claims to be larger still.
            file.padding = 2 * self._world.inventory.backup.minimum_bytes
            file.text += f"-- Dump completed on {datetime.now(UTC):%Y-%m-%d %H:%M:%S}\n"
            file.complete = True
        self._world.changed(self._shell.machine, "dump ends")
        return Answer()

    def _killed(self, boot: str) -> bool:
        """Whether the machine went down since."""
        return self._state.power in ("off", "booting") or self._state.boot_id != boot

    async def _flock(self, call: Call) -> Answer:
        wanted = _locking(call)
        if wanted is None:
            return self._shell.unknown(call.text, "flock: only with a file and a command")
        try:
            async with asyncio.timeout(wanted.patience):
                await self._world.until(lambda: wanted.file not in self._state.locks)
        except TimeoutError:
            return Answer(wanted.conflict)
        self._state.locks.add(wanted.file)
        # sshd hangs up, but it kills nothing: what runs as root goes on to its end although nobody listens.
        alone = asyncio.create_task(self._locked(wanted, call))
        self._alone.add(alone)
        alone.add_done_callback(self._alone.discard)
        return await asyncio.shield(alone)

    async def _locked(self, wanted: _Locking, call: Call) -> Answer:
        boot = self._state.boot_id
        try:
            return await self._shell.dispatch(Call(wanted.command, call.root, call.stdin))
        finally:
            if not self._killed(boot):
                self._state.locks.discard(wanted.file)
                self._world.changed(self._shell.machine, "lock released")

    async def _mv(self, call: Call) -> Answer:
        words = call.plain()
        if len(words) != 2:
            return self._shell.unknown(call.text, "mv: only with two paths")
        source, target = words
        if source not in self._state.files:
            return self._missing(call, source)
        if not self._directory(target.rpartition("/")[0]):
            return Answer(1, stderr=f"mv: cannot move '{source}' to '{target}': No such file or directory\n")
        self._world.journal.write(self._shell.machine, f"mv {source} {target}")
        self._state.files[target] = self._state.files.pop(source)
        return Answer()

    async def _rm(self, call: Call) -> Answer:
        for path in call.plain():
            effect = "done" if path in self._state.files else "missing"
            self._world.journal.write(self._shell.machine, f"rm {path}", effect)
            if self._state.files.pop(path, None) is None and not {"-f", "--force"} & set(call.args):
                return self._missing(call, path)
        self._world.changed(self._shell.machine, "files removed")
        return Answer()

    async def _stat(self, call: Call) -> Answer:
        form = call.option("-c") or call.option("--format") or call.option("--printf")
        paths = [word for word in call.plain() if word != form]
        if form is None or len(paths) != 1:
            return self._shell.unknown(call.text, "stat: only -c FORMAT with one file")
        file = self._state.files.get(paths[0])
        if file is None and not self._directory(paths[0]):
            return self._missing(call, paths[0])
        now = datetime.now(UTC)
        values = {
            "%s": str(file.size if file else 4096),
            "%Y": str(int(now.timestamp())),
            "%n": paths[0],
            "%F": "regular file" if file else "directory",
            "%a": "600" if file else "750",
            "%U": "root",
        }
        for name, value in values.items():
            form = form.replace(name, value)
        return Answer(stdout=f"{form}\n")

    async def _tail(self, call: Call) -> Answer:
        count = call.option("-c") or call.option("--bytes")
        paths = [word for word in call.plain() if word != count]
        if len(paths) != 1:
            return self._shell.unknown(call.text, "tail: only with one file")
        file = self._state.files.get(paths[0])
        if file is None:
            return self._missing(call, paths[0])
        if count:
            return Answer(stdout=file.text[-int(count) :])
        return Answer(stdout="".join(file.text.splitlines(keepends=True)[-10:]))

    async def _sha256sum(self, call: Call) -> Answer:
        path = call.plain()[0] if call.plain() else ""
        file = self._state.files.get(path)
        if file is None:
            return self._missing(call, path)
        # Reading a real dump takes a while.
        await asyncio.sleep(0)
        return Answer(stdout=f"{file.sha256}  {path}\n")

    async def _test(self, call: Call) -> Answer:
        if len(call.args) != 2 or call.args[0] not in ("-e", "-f", "-d", "-s", "-w", "-r"):
            return self._shell.unknown(call.text, "test: only -e, -f, -d, -s, -r, -w")
        flag, path = call.args
        file, directory = path in self._state.files, self._directory(path)
        holds = {"-f": file, "-d": directory, "-s": file and self._state.files[path].size > 0}
        return Answer(0 if holds.get(flag, file or directory) else 1)

    async def _ls(self, call: Call) -> Answer:
        path = call.plain()[0].rstrip("/") if call.plain() else "/root"
        if path in self._state.files:
            return Answer(stdout=f"{path}\n")
        if not self._directory(path):
            return Answer(2, stderr=f"ls: cannot access '{path}': No such file or directory\n")
        names = [name for name in self._state.files if name.rpartition("/")[0] == path]
        shown = sorted(name.rpartition("/")[2] for name in names if "/." not in name)
        return Answer(stdout="".join(f"{name}\n" for name in shown))

    async def _df(self, call: Call) -> Answer:
        free = 0 if self._world.faults.holds("disk_full", self._shell.machine) else _FREE_BYTES
        if call.option("--output") == "avail":
            unit = 1 if {"-B1", "--block-size=1"} & set(call.args) else 1024
            return Answer(stdout=f"{'Avail':>12}\n{free // unit:12}\n")
        used = 10_737_418_240
        head = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n"
        row = f"/dev/vda1      {(used + free) // 1024} {used // 1024} {free // 1024}       9% /\n"
        return Answer(stdout=head + row)
