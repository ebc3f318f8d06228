"""Ports that a service listens on: taken, or refused in words that name the setting to change."""

import errno
import socket


def listen(host: str, port: int, host_setting: str, port_setting: str, *, backlog: int | None = None) -> socket.socket:
    """Listen on an address of this machine, IPv4 or IPv6; port 0: any that is free.

    `backlog`: connections that may wait to be accepted; None: the system's usual.

    Raises ValueError, beginning with a setting: another server there would answer in our name, and to try again would
    not help.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=backlog)
    except (OSError, UnicodeError, ValueError) as error:
        raise refused(error, host, port, host_setting, port_setting) from None


def refused(
    error: OSError | UnicodeError | ValueError, host: str, port: int, host_setting: str, port_setting: str
) -> ValueError:
    """Return what says why nobody can listen there, and which setting to change."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        said = f"{port_setting}: port {port} of {host} is taken by another process; stop it, or choose another port"
    elif code in (errno.EACCES, errno.EPERM):
        said = f"{port_setting}: port {port} of {host} is not for this user; ports from 1024 on are"
    elif code == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror) or code is None:
        said = (
            f"{host_setting}: {host!r} is no address of this machine; 127.0.0.1 is for this machine alone, 0.0.0.0 "
            "(IPv6: ::) for all of its addresses"
        )
    else:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        said = f"{host_setting}, {port_setting}: cannot listen on {host}, port {port}: {reason}"
    return ValueError(said)
