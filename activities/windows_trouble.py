"""What can go wrong with WinRM, in the words of this product: every exception of pywinrm, requests and NTLM."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET

import requests.exceptions as http
import spnego.exceptions as ntlm
import urllib3.exceptions as transport
import winrm.exceptions as winrm

from activities.errors import NotUnderstood, Rejected, SystemTrouble, Transient

_NETWORK = "check that the machine is on and that its address and port are right"
_LOGIN = "check user and password of the connection, and that the account may use WinRM there"
_CERTIFICATE = "check the certificate of the machine and the `ca` of its connection"
_LISTENER = "check the WinRM listener there (winrm enumerate winrm/config/listener)"

ACCESS_DENIED = 5
"""ERROR_ACCESS_DENIED of the Windows SDK, also as a fault of WinRM."""

KINDS: dict[type[Exception], tuple[type[SystemTrouble], str]] = {
    # The nearest base class counts (the method resolution order).
    winrm.AuthenticationError: (Rejected, _LOGIN),
    winrm.WinRMOperationTimeoutError: (Transient, ""),
    winrm.WinRMTransportError: (NotUnderstood, _LISTENER),
    winrm.WSManFaultError: (Transient, ""),
    winrm.WinRMError: (NotUnderstood, ""),
    http.SSLError: (Transient, _NETWORK),
    http.ConnectionError: (Transient, _NETWORK),
    http.Timeout: (Transient, _NETWORK),
    http.ChunkedEncodingError: (Transient, _NETWORK),
    http.ContentDecodingError: (Transient, _NETWORK),
    http.RetryError: (Transient, _NETWORK),
    http.RequestException: (NotUnderstood, ""),
    transport.HTTPError: (Transient, _NETWORK),
    ntlm.SpnegoError: (Rejected, _LOGIN),
    ntlm.NativeError: (NotUnderstood, ""),
    ntlm.FeatureMissingError: (NotUnderstood, ""),
    PermissionError: (Rejected, _LOGIN),
    OSError: (Transient, _NETWORK),
    # pywinrm and requests_ntlm take answers apart unchecked: what is no answer of WinRM ends in one of these.
    ET.ParseError: (NotUnderstood, _LISTENER),
    StopIteration: (NotUnderstood, _LISTENER),
    AssertionError: (NotUnderstood, _LISTENER),
    LookupError: (NotUnderstood, _LISTENER),
    ValueError: (NotUnderstood, _LISTENER),
    TypeError: (NotUnderstood, _LISTENER),
    AttributeError: (NotUnderstood, _LISTENER),
    struct.error: (NotUnderstood, _LISTENER),
}
CAUGHT = tuple(KINDS)


def translated(machine: str, tried: str, error: Exception) -> SystemTrouble:
    """The trouble that an exception means, in the words of this product."""
    special = _special(error)
    kind, next_step = special or KINDS[next(cls for cls in type(error).__mro__ if cls in KINDS)]
    return kind(machine, f"{tried}: {_seen(error)}", next_step)


def _special(error: Exception) -> tuple[type[SystemTrouble], str] | None:
    """Where the class alone does not tell whether trying again helps."""
    if isinstance(error, http.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Rejected, _CERTIFICATE
    if isinstance(error, OSError) and "CA certificate bundle" in str(error):
        return Rejected, _CERTIFICATE
    if isinstance(error, winrm.WSManFaultError) and error.wsman_fault_code == ACCESS_DENIED:
        return Rejected, _LOGIN
    if isinstance(error, winrm.WinRMTransportError) and error.args[1:] and error.code in (403, 407):
        return Rejected, _LOGIN
    if isinstance(error, winrm.WinRMTransportError) and error.args[1:] and error.code in (502, 503, 504):
        return Transient, _NETWORK
    return None


def _seen(error: Exception) -> str:
    if isinstance(error, winrm.WSManFaultError):
        return f"{error.reason} (fault {error.wsman_fault_code})"
    if isinstance(error, winrm.WinRMTransportError):
        return error.message if error.args[1:] else "unexpected answer"
    if isinstance(error, http.RequestException):
        return _first_cause(error)
    if isinstance(error, winrm.WinRMError | OSError | transport.HTTPError | ntlm.SpnegoError):
        return str(error) or type(error).__name__
    return f"no answer of WinRM ({type(error).__name__})"


def _first_cause(error: BaseException) -> str:
    """What happened on the network, without the layers that requests and urllib3 wrap around it."""
    first: BaseException = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    return str(first) or str(error) or type(error).__name__
