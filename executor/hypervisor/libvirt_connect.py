"""The door to libvirt: the import, connections that are reopened when they died, URIs without secrets."""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from drsim.errors import HypervisorError
from executor.hypervisor.libvirt_bounded import Failed, run_bounded
from executor.secret import SECRET_WORDS

KEEPALIVE_S, KEEPALIVE_COUNT = 5, 3
"""A peer that is silent for about 5 * (3 + 1) s is taken for dead; libvirtd's own default is 5 * (5 + 1) s."""

OPEN_TIMEOUT_S = 15.0
"""Time for a host to let us in; TLS and SSH over 100 ms take about 2 s."""

EVENTS, END_S = "drsim libvirt events", 2.0
"""Name of the thread of libvirt's event loop, and the time that it has to end, seconds."""

AGREEING = 3
"""How many tries at a round trip must agree before it is believed."""


@functools.cache
def load_libvirt() -> Any:
    """Return the libvirt module, silenced and with its event loop running; once a process.

    The event loop is needed for keepalive: without it a call to a host that lost power never returns. It ends with the
    process, before Python takes itself apart: a loop that still turns then calls what is no longer there.

    Raises
    ------
    HypervisorError
        If the Python binding is not installed; the text says how to install it.
    """
    try:
        import libvirt
    except ImportError as error:
        raise HypervisorError(
            f"The Python binding of libvirt cannot be imported ({error}). Install it: "
            "'apt install --no-install-recommends libvirt-dev pkg-config gcc python3-dev', then "
            "'pip install \"libvirt-python>=9.0\"'. Planning and simulating need neither."
        ) from None
    libvirt.registerErrorHandler(_swallow, None)  # by default libvirt prints every error to stderr
    libvirt.virEventRegisterDefaultImpl()

    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            libvirt.virEventRunDefaultImpl()

    loop = threading.Thread(target=turn, name=EVENTS, daemon=True)
    loop.start()
    # A loop with nothing to wait for sleeps for ever and would not notice the first connection, nor that it is over.
    timer = libvirt.virEventAddTimeout(1000, _swallow, None)

    def end() -> None:
        over.set()
        libvirt.virEventUpdateTimeout(timer, 0)
        loop.join(END_S)

    atexit.register(end)
    return libvirt


def _swallow(*_: object) -> None:
    """Do nothing."""


def check_uri(uri: str) -> str:
    """Return the URI if it may be stored and shown.

    Raises
    ------
    HypervisorError
        If it is not a URI, or carries a password.
    """
    try:
        parts = urlsplit(uri)
        secret = parts.password is not None or any(
            word in key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True) for word in SECRET_WORDS
        )
    except ValueError:
        raise HypervisorError("A libvirt URI cannot be read. Write it as 'qemu+ssh://user@host/system'.") from None
    if secret:
        raise HypervisorError(
            f"The libvirt URI of '{parts.hostname or parts.path}' carries a password. Leave it out: use an SSH key, a "
            "TLS client certificate, or libvirt's own auth.conf."
        )
    if not parts.scheme:
        raise HypervisorError(f"'{uri}' is not a libvirt URI. Write it as 'qemu+ssh://user@host/system'.")
    return uri


def message(error: Exception) -> str:
    """Return one line that says what went wrong, whatever was raised."""
    return " ".join(str(error).split()) or type(error).__name__


def open_connection(uri: str, *, read_only: bool, timeout_s: float = OPEN_TIMEOUT_S) -> Any:
    """Open a connection within bounded time, never asking anything on the terminal.

    Raises
    ------
    HypervisorError
        If it cannot be opened in time.
    """
    libvirt = load_libvirt()
    parts = urlsplit(check_uri(uri))
    if parts.scheme.endswith("+ssh") and "no_tty" not in parts.query:
        uri = f"{uri}{'&' if parts.query else '?'}no_tty=1"

    def connect() -> Any:
        connection = libvirt.openReadOnly(uri) if read_only else libvirt.open(uri)
        with contextlib.suppress(libvirt.libvirtError):  # a driver inside this process (test:///) has no wire to watch
            connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
        return connection

    connection = run_bounded({uri: connect}, timeout_s=timeout_s)[uri]
    if isinstance(connection, Failed):
        raise HypervisorError(f"cannot connect: {message(connection.error)}") from None
    return connection


def round_trip_ms(connection: Any, *, times: int = 20, wait_s: float = 0.05) -> float | None:
    """Return the round trip to the daemon of a host, ms, or None if it cannot be told from the daemon's own business.

    A line is as long at every try; a busy host is late by another time at each. The shortest round trip counts once
    two others came near it.
    """
    tries_s: list[float] = []
    for _ in range(times):
        began_s = time.perf_counter()
        connection.getLibVersion()
        tries_s.append(time.perf_counter() - began_s)
        near_s = 1.1 * min(tries_s) + 1e-3
        if sum(try_s <= near_s for try_s in tries_s) >= AGREEING:
            return min(tries_s) * 1e3
        if len(tries_s) >= AGREEING:
            time.sleep(wait_s)
    return None


class Connections:
    """One connection a host, opened on first use, reopened when it has died; safe for several threads.

    Parameters
    ----------
    uris : mapping of str to str
        URI by host.
    """

    def __init__(self, uris: dict[str, str]) -> None:
        self._uris = {host: check_uri(uri) for host, uri in uris.items()}
        self._locks = {host: threading.Lock() for host in uris}
        self._open: dict[str, Any] = {}

    def __contains__(self, host: str) -> bool:
        return host in self._uris

    def get(self, host: str) -> Any:
        """Return an open connection.

        Raises
        ------
        HypervisorError
            If the host has no URI or does not let us in; the text names the host.
        """
        if host not in self._uris:
            raise HypervisorError(
                f"Host '{host}' has no libvirt URI in the inventory. Set its 'uri' or collect the inventory again."
            )
        with self._locks[host]:
            connection = self._open.get(host)
            if connection is None or not connection.isAlive():
                self._open.pop(host, None)
                try:
                    connection = open_connection(self._uris[host], read_only=False)
                except HypervisorError as error:
                    raise HypervisorError(f"Host '{host}': {error}") from None
                self._open[host] = connection
            return connection

    def close(self) -> None:
        """Close all of them."""
        for connection in self._open.values():
            run_bounded({"close": connection.close}, timeout_s=2.0)
        self._open.clear()
