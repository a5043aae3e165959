"""The database server of the lab against unmodified aiomysql, its answers against a real MariaDB's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiomysql
import pymysql.err
import pytest

from lab.database import (
    DatabaseAccount,
    DatabaseServer,
    MasterStatus,
    QueryResult,
    SqlError,
    not_simulated,
)
from lab.database_rows import (
    Process,
    ReplicaStatus,
    Value,
    binlog_dump,
    connecting,
    replicating,
    replication_threads,
    stopped,
)
from lab.listening import Endpoint

ADDRESS = "127.77.1.31"
OPERATOR = DatabaseAccount("failover", "op-secret", frozenset({"PROCESS", "REPLICA MONITOR", "REPLICATION CLIENT"}))
SHOP = DatabaseAccount("app", "app-secret")
ADMIN = DatabaseAccount("admin", "admin-secret", frozenset({"ALL PRIVILEGES"}))

# From a real MariaDB 10.11.19: two masters, healthy, with application sessions.
REAL_REPLICA_HEADER = [
    "Slave_IO_State",
    "Master_Host",
    "Master_User",
    "Master_Port",
    "Connect_Retry",
    "Master_Log_File",
    "Read_Master_Log_Pos",
    "Relay_Log_File",
    "Relay_Log_Pos",
    "Relay_Master_Log_File",
    "Slave_IO_Running",
    "Slave_SQL_Running",
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Last_Errno",
    "Last_Error",
    "Skip_Counter",
    "Exec_Master_Log_Pos",
    "Relay_Log_Space",
    "Until_Condition",
    "Until_Log_File",
    "Until_Log_Pos",
    "Master_SSL_Allowed",
    "Master_SSL_CA_File",
    "Master_SSL_CA_Path",
    "Master_SSL_Cert",
    "Master_SSL_Cipher",
    "Master_SSL_Key",
    "Seconds_Behind_Master",
    "Master_SSL_Verify_Server_Cert",
    "Last_IO_Errno",
    "Last_IO_Error",
    "Last_SQL_Errno",
    "Last_SQL_Error",
    "Replicate_Ignore_Server_Ids",
    "Master_Server_Id",
    "Master_SSL_Crl",
    "Master_SSL_Crlpath",
    "Using_Gtid",
    "Gtid_IO_Pos",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
    "Parallel_Mode",
    "SQL_Delay",
    "SQL_Remaining_Delay",
    "Slave_SQL_Running_State",
    "Slave_DDL_Groups",
    "Slave_Non_Transactional_Groups",
    "Slave_Transactional_Groups",
    "Replicate_Rewrite_DB",
]
REAL_PROCESSES = """\
88	system user		NULL	Slave_IO	6	Waiting for master to send event	NULL	0.000
89	system user		NULL	Slave_SQL	3	Slave has read all relay log; waiting for more updates	NULL	0.000
90	repl	127.0.0.1:35632	NULL	Binlog Dump	6	Master has sent all binlog to slave; waiting for more updates	\
NULL	0.000
132	app	127.0.0.1:35638	shop	Query	1	User sleep	SELECT SLEEP(4)	0.000"""
REAL_HEALTHY = {
    "Slave_IO_State": "Waiting for master to send event",
    "Master_Host": "127.0.0.1",
    "Master_Port": 23307,
    "Connect_Retry": 5,
    "Slave_IO_Running": "Yes",
    "Slave_SQL_Running": "Yes",
    "Seconds_Behind_Master": 0,
    "Last_IO_Errno": 0,
    "SQL_Remaining_Delay": None,
    "Slave_SQL_Running_State": "Slave has read all relay log; waiting for more updates",
}
REAL_PEER_DOWN = {
    "Slave_IO_State": "Reconnecting after a failed master event read",
    "Slave_IO_Running": "Connecting",
    "Slave_SQL_Running": "Yes",
    "Seconds_Behind_Master": None,
    "Last_IO_Errno": 2003,
    "Last_IO_Error": "error reconnecting to master 'repl@127.0.0.1:23307' - retry-time: 5  maximum-retries: 100000"
    "  message: Can't connect to server on '127.0.0.1' (111 \"Connection refused\")",
}


@dataclass
class Model:
    """A master with a slave, an application session and a peer that it replicates from."""

    replica: list[ReplicaStatus] = field(
        default_factory=lambda: [replicating("127.0.0.1", 23307, server_id=2, Connect_Retry=5)]
    )
    threads: list[Process] = field(default_factory=list)
    read_only: bool = False
    log: MasterStatus | None = field(default_factory=lambda: MasterStatus("bin.000001", 1120))

    def accounts(self) -> Sequence[DatabaseAccount]:
        return [OPERATOR, SHOP, ADMIN]

    def processes(self) -> Sequence[Process]:
        return self.threads

    def replicas(self) -> Sequence[ReplicaStatus]:
        return self.replica

    def master_status(self) -> MasterStatus | None:
        return self.log

    def variables(self) -> Mapping[str, str | int | bool]:
        return {
            "version": "10.11.19-MariaDB-0+deb12u1-log",
            "hostname": "acd-dbm1",
            "server_id": 1,
            "read_only": self.read_only,
            "tx_read_only": False,
            "innodb_read_only": False,
            "time_zone": "SYSTEM",
        }

    def status(self) -> Mapping[str, str | int]:
        return {"Threads_connected": 7, "Uptime": 12}

    async def kill(self, thread_id: int) -> bool:
        before = len(self.threads)
        self.threads = [thread for thread in self.threads if thread.thread_id != thread_id]
        return len(self.threads) < before

    async def execute(self, account: DatabaseAccount, sql: str) -> QueryResult:
        if sql == "SELECT n, t FROM lab.numbers":
            return QueryResult(("n", "t"), [("1", None)])
        if sql.startswith("INSERT") and self.read_only:
            raise SqlError(1290, "The MariaDB server is running with the --read-only option")
        raise not_simulated(sql)


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def server(model: Model) -> AsyncIterator[DatabaseServer]:
    server = DatabaseServer(Endpoint(ADDRESS), model, first_thread_id=200)
    model.threads = [
        *replication_threads(88, 89, io_state="Waiting for master to send event"),
        binlog_dump(90, "127.0.0.1:35632", seconds=6),
        Process(132, "app", "127.0.0.1:35638", "Query", 1, "shop", "User sleep", "SELECT SLEEP(4)"),
    ]
    await server.start()
    yield server
    await server.stop()


async def connect(
    server: DatabaseServer, account: DatabaseAccount = OPERATOR, **options: object
) -> aiomysql.Connection:
    settings: dict[str, object] = {
        "host": server.endpoint.address,
        "port": server.endpoint.port,
        "user": account.user,
        "password": account.password,
        "connect_timeout": 5,
    }
    return await aiomysql.connect(**(settings | options))


@pytest.fixture
async def connection(server: DatabaseServer) -> AsyncIterator[aiomysql.Connection]:
    connection = await connect(server)
    yield connection
    connection.close()


async def ask(connection: aiomysql.Connection, sql: str) -> list[dict[str, Value]]:
    async with connection.cursor(aiomysql.DictCursor) as cursor:
        await cursor.execute(sql)
        return list(await cursor.fetchall())


async def columns(connection: aiomysql.Connection, sql: str) -> list[str]:
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        return [column[0] for column in cursor.description]


async def test_the_process_list_reads_as_the_real_one(connection: aiomysql.Connection) -> None:
    rows = await ask(connection, "SHOW FULL PROCESSLIST")
    assert list(rows[0]) == ["Id", "User", "Host", "db", "Command", "Time", "State", "Info", "Progress"]
    real = [line.split("\t") for line in REAL_PROCESSES.splitlines()]
    own = rows.pop()
    for row, expected in zip(rows, real, strict=True):
        shown = ["NULL" if value is None else str(value) for value in row.values()]
        # The recording's two replication threads had been in their state for some seconds.
        assert shown[:5] + shown[6:8] == expected[:5] + expected[6:8]
    assert (own["User"], own["Command"], own["Info"], own["Progress"]) == (
        "failover",
        "Query",
        "SHOW FULL PROCESSLIST",
        0.0,
    )
    assert own["Id"] == (await ask(connection, "SELECT CONNECTION_ID() AS id"))[0]["id"]
    assert isinstance(rows[0]["Time"], int)


async def test_without_the_process_privilege_only_own_threads_are_seen(server: DatabaseServer) -> None:
    shop = await connect(server, SHOP)
    rows = await ask(shop, "SHOW PROCESSLIST")
    assert {row["User"] for row in rows} == {"app"}
    assert len(rows) == 2
    assert await ask(shop, "SELECT id FROM information_schema.processlist WHERE user <> 'app'") == []
    shop.close()


async def test_the_plain_list_cuts_long_statements(model: Model, connection: aiomysql.Connection) -> None:
    model.threads = [Process(1, "app", "x:1", "Query", info="SELECT " + "x" * 200)]
    assert len(str((await ask(connection, "show processlist"))[0]["Info"])) == 100
    assert len(str((await ask(connection, "show full processlist;"))[0]["Info"])) == 207


async def test_other_clients_show_as_they_are(server: DatabaseServer, connection: aiomysql.Connection) -> None:
    shop = await connect(server, SHOP, db="shop")
    reader, writer = await asyncio.open_connection(server.endpoint.address, server.endpoint.port)
    await reader.readexactly(4)
    rows = await ask(connection, "SHOW PROCESSLIST")
    sleeping = next(row for row in rows if row["User"] == "app" and row["Command"] == "Sleep")
    assert (sleeping["db"], sleeping["Info"]) == ("shop", None)
    assert any(row["User"] == "unauthenticated user" and row["State"] == "login" for row in rows)
    writer.close()
    shop.close()


async def test_information_schema_shows_the_same_threads(connection: aiomysql.Connection) -> None:
    sql = (
        "SELECT ID, USER, COMMAND, DB FROM information_schema.PROCESSLIST"
        " WHERE COMMAND NOT LIKE 'Binlog Dump%' AND USER <> 'system user' AND ID <> CONNECTION_ID() ORDER BY ID"
    )
    assert await ask(connection, sql.replace("CONNECTION_ID()", "1")) == [
        {"ID": 132, "USER": "app", "COMMAND": "Query", "DB": "shop"},
        {"ID": 200, "USER": "failover", "COMMAND": "Query", "DB": None},
    ]
    assert await ask(connection, sql) == [{"ID": 132, "USER": "app", "COMMAND": "Query", "DB": "shop"}]
    counted = await ask(connection, "SELECT COUNT(*) AS n FROM INFORMATION_SCHEMA.PROCESSLIST WHERE User = 'app'")
    assert counted == [{"n": 1}]
    everything = await columns(connection, "SELECT * FROM information_schema.processlist")
    assert everything[:4] == ["ID", "USER", "HOST", "DB"]


@pytest.mark.parametrize("statement", ["SHOW SLAVE STATUS", "show replica status", "SHOW  SLAVE\n STATUS ;"])
async def test_a_healthy_replica_reads_as_the_real_one(connection: aiomysql.Connection, statement: str) -> None:
    (row,) = await ask(connection, statement)
    assert list(row) == REAL_REPLICA_HEADER
    assert {name: row[name] for name in REAL_HEALTHY} == REAL_HEALTHY


async def test_a_replica_whose_master_is_away_reads_as_the_real_one(
    model: Model, connection: aiomysql.Connection
) -> None:
    model.replica = [connecting("127.0.0.1", 23307, retry_seconds=5)]
    (row,) = await ask(connection, "SHOW SLAVE STATUS")
    assert {name: row[name] for name in REAL_PEER_DOWN} == REAL_PEER_DOWN


async def test_all_replication_connections_are_listed(model: Model, connection: aiomysql.Connection) -> None:
    model.replica = [stopped("a", 1), replicating("b", 2, server_id=3, lag_seconds=9, Connection_name="second")]
    rows = await ask(connection, "SHOW ALL SLAVES STATUS")
    assert list(rows[0])[:3] == ["Connection_name", "Slave_SQL_State", "Slave_IO_State"]
    assert list(rows[0])[-2:] == ["Slave_heartbeat_period", "Gtid_Slave_Pos"]
    seen = [(row["Connection_name"], row["Slave_IO_Running"], row["Seconds_Behind_Master"]) for row in rows]
    assert seen == [("", "No", None), ("second", "Yes", 9)]
    assert len(await ask(connection, "SHOW SLAVE STATUS")) == 1


async def test_a_server_that_replicates_from_nobody_answers_with_no_row(
    model: Model, connection: aiomysql.Connection
) -> None:
    model.replica, model.log = [], None
    assert await ask(connection, "SHOW SLAVE STATUS") == []
    assert await ask(connection, "SHOW MASTER STATUS") == []


async def test_the_binary_log_s_end(connection: aiomysql.Connection) -> None:
    expected = [{"File": "bin.000001", "Position": 1120, "Binlog_Do_DB": "", "Binlog_Ignore_DB": ""}]
    assert await ask(connection, "SHOW MASTER STATUS") == expected


async def test_a_missing_privilege_is_an_error_not_an_empty_answer(server: DatabaseServer) -> None:
    shop = await connect(server, SHOP)
    for statement in ("SHOW SLAVE STATUS", "SHOW ALL SLAVES STATUS", "SHOW MASTER STATUS"):
        with pytest.raises(pymysql.err.OperationalError) as refused:
            await ask(shop, statement)
        assert refused.value.args[0] == 1227
    shop.close()


async def test_grants_name_the_privileges_and_not_the_password(connection: aiomysql.Connection) -> None:
    (row,) = await ask(connection, "SHOW GRANTS FOR CURRENT_USER()")
    assert list(row) == ["Grants for failover@%"]
    line = str(row["Grants for failover@%"])
    assert line.startswith("GRANT BINLOG MONITOR, PROCESS, SLAVE MONITOR ON *.* TO `failover`@`%` IDENTIFIED BY")
    assert OPERATOR.password not in line
    assert OPERATOR.password not in repr(OPERATOR)


async def test_variables(model: Model, connection: aiomysql.Connection) -> None:
    model.read_only = True
    assert await ask(connection, "SHOW GLOBAL VARIABLES LIKE '%read_only%'") == [
        {"Variable_name": "innodb_read_only", "Value": "OFF"},
        {"Variable_name": "read_only", "Value": "ON"},
        {"Variable_name": "tx_read_only", "Value": "OFF"},
    ]
    assert len(await ask(connection, "SHOW VARIABLES LIKE 'read_only'")) == 1
    assert len(await ask(connection, "SHOW VARIABLES WHERE Variable_name IN ('read_only', 'server_id')")) == 2
    assert await ask(connection, "SHOW GLOBAL STATUS LIKE 'Uptime'") == [{"Variable_name": "Uptime", "Value": "12"}]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1", 1),
        ("SELECT VERSION()", "10.11.19-MariaDB-0+deb12u1-log"),
        ("SELECT @@hostname", "acd-dbm1"),
        ("SELECT @@global.read_only", 0),
        ("SELECT @@version", "10.11.19-MariaDB-0+deb12u1-log"),
        ("SELECT CURRENT_USER()", "failover@%"),
        ("SELECT USER()", "failover@127.0.0.1"),
    ],
)
async def test_selects_without_a_table(connection: aiomysql.Connection, statement: str, expected: Value) -> None:
    (row,) = await ask(connection, statement)
    assert list(row.values()) == [expected]


async def test_the_version_column_is_named_as_on_the_real_server(connection: aiomysql.Connection) -> None:
    assert await columns(connection, "SELECT VERSION()") == ["VERSION()"]


async def test_an_unknown_variable_is_an_error(connection: aiomysql.Connection) -> None:
    with pytest.raises(pymysql.err.OperationalError) as refused:
        await ask(connection, "SELECT @@nonsense")
    assert refused.value.args[0] == 1193
    assert await ask(connection, "SELECT 1 AS still_here") == [{"still_here": 1}]


async def test_kill_ends_real_and_modelled_threads(server: DatabaseServer, model: Model) -> None:
    admin, shop = await connect(server, ADMIN), await connect(server, SHOP)
    (own,) = await ask(shop, "SELECT CONNECTION_ID() AS id")
    with pytest.raises(pymysql.err.OperationalError) as refused:
        await ask(shop, "KILL 88")
    assert refused.value.args[0] == 1095
    await ask(admin, f"KILL {own['id']}")
    with pytest.raises(pymysql.err.OperationalError) as lost:
        await ask(shop, "SELECT 1")
    assert lost.value.args[0] in (2006, 2013)
    await ask(admin, "KILL CONNECTION 132")
    assert 132 not in [thread.thread_id for thread in model.threads]
    with pytest.raises(pymysql.err.OperationalError) as unknown:
        await ask(admin, "KILL 132")
    assert unknown.value.args[0] == 1094
    admin.close()


@pytest.mark.parametrize(("user", "password"), [("failover", "wrong"), ("nobody", "op-secret"), ("failover", "")])
async def test_wrong_credentials_are_rejected(server: DatabaseServer, user: str, password: str) -> None:
    with pytest.raises(pymysql.err.OperationalError) as refused:
        await connect(server, user=user, password=password)
    assert refused.value.args[0] == 1045
    assert refused.value.args[1] == f"Access denied for user '{user}'@'127.0.0.1' (using password: YES)"


async def test_other_statements_are_the_model_s(model: Model, connection: aiomysql.Connection) -> None:
    assert await ask(connection, "SELECT n, t FROM lab.numbers") == [{"n": "1", "t": None}]
    with pytest.raises(pymysql.err.NotSupportedError, match="does not know"):
        await ask(connection, "SELECT SLEEP(1)")
    model.read_only = True
    with pytest.raises(pymysql.err.OperationalError) as refused:
        await ask(connection, "INSERT INTO shop.t VALUES (1)")
    assert refused.value.args[0] == 1290


async def test_session_statements_are_taken(connection: aiomysql.Connection) -> None:
    await ask(connection, "SET NAMES utf8mb4")
    await connection.begin()
    await connection.commit()
    await connection.ping(reconnect=False)


async def test_a_stopped_server_refuses_and_comes_back_on_its_port(server: DatabaseServer) -> None:
    connection = await connect(server)
    endpoint = server.endpoint
    await server.stop()
    assert server.clients == {}
    with pytest.raises(pymysql.err.OperationalError):
        await ask(connection, "SELECT 1")
    with pytest.raises(pymysql.err.OperationalError) as refused:
        await connect(server)
    assert refused.value.args[0] == 2003
    await server.start()
    assert server.endpoint == endpoint
    (await connect(server)).close()


async def test_a_hanging_server_answers_nothing(server: DatabaseServer, connection: aiomysql.Connection) -> None:
    server.gate.close()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(ask(connection, "SELECT 1"), timeout=0.2)
    server.gate.open()


async def test_a_health_check_s_connect_leaves_nothing_behind(server: DatabaseServer) -> None:
    reader, writer = await asyncio.open_connection(server.endpoint.address, server.endpoint.port)
    await reader.readexactly(4)
    task = next(iter(server.serving))
    writer.close()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    assert server.clients == {}


def test_a_column_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="Slave_IO_Runing"):
        ReplicaStatus({"Slave_IO_Runing": "Yes"})
