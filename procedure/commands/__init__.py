"""All commands of the procedure. A new system is a new module here and its hands; nothing else changes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from procedure.commands.backup import DeleteSnapshot, RemoveBackup, TakeBackup, TakeSnapshot
from procedure.commands.balancers import AwaitServersUp, SetMaintenance
from procedure.commands.base import Command
from procedure.commands.checks import CheckCaughtUp, CheckPair, CheckReplication, CheckStopped, CheckWholePair, RunProbe
from procedure.commands.daemon import StartDaemon, StopDaemon
from procedure.commands.looking import LookAgain, LookAgainAlone
from procedure.commands.machines import CutPower, ShutDownMachine, StartMachine
from procedure.commands.monitoring import LiftSilence, SilenceMonitoring
from procedure.commands.pairs import ClearMove, MovePair, RejoinNode
from procedure.commands.restored import CheckBalancer, CheckRestored
from procedure.commands.sessions import AwaitDrained, EndSessions
from procedure.commands.software import StartComponent, StopComponent

AnyCommand = Annotated[
    StopComponent
    | StartComponent
    | AwaitDrained
    | EndSessions
    | MovePair
    | RejoinNode
    | ClearMove
    | SetMaintenance
    | AwaitServersUp
    | StopDaemon
    | StartDaemon
    | ShutDownMachine
    | CutPower
    | StartMachine
    | TakeBackup
    | RemoveBackup
    | TakeSnapshot
    | DeleteSnapshot
    | SilenceMonitoring
    | LiftSilence
    | LookAgain
    | LookAgainAlone
    | CheckPair
    | CheckWholePair
    | CheckReplication
    | CheckCaughtUp
    | CheckStopped
    | CheckBalancer
    | CheckRestored
    | RunProbe,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyCommand",
    "AwaitDrained",
    "AwaitServersUp",
    "CheckBalancer",
    "CheckCaughtUp",
    "CheckPair",
    "CheckReplication",
    "CheckRestored",
    "CheckStopped",
    "CheckWholePair",
    "ClearMove",
    "Command",
    "CutPower",
    "DeleteSnapshot",
    "EndSessions",
    "LiftSilence",
    "LookAgain",
    "LookAgainAlone",
    "MovePair",
    "RejoinNode",
    "RemoveBackup",
    "RunProbe",
    "SetMaintenance",
    "ShutDownMachine",
    "SilenceMonitoring",
    "StartComponent",
    "StartDaemon",
    "StartMachine",
    "StopComponent",
    "StopDaemon",
    "TakeBackup",
    "TakeSnapshot",
]
