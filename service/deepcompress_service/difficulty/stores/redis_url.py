"""URLs of Redis stores. Each part is checked, so that a wrong URL is an error at start; it repeats no password."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

TLS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
"""Parameters of a URL for TLS, as redis-py names them."""
ENCODE = "in a password, write %2F for /, %3F for ?, %23 for #, %40 for @"


def check_server_url(url: str) -> None:
    """Check a URL of redis:// or rediss://, which redis-py reads.

    redis-py passes unknown parameters on, to fail at each connection, and takes database 0 for a path that is no
    number.

    Raises:
        ValueError: A part is not valid.
    """
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"write {scheme}://[USER:PASSWORD@]HOST[:PORT][/DATABASE]; {ENCODE}")
    database = parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(f"the path of {scheme}:// is the number of a database, as in {scheme}://HOST:6379/0")
    _parameters(url, ("db", "username", "password", "client_name", *(TLS if scheme == "rediss" else ())))


def _parameters(url: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a URL's query.

    Raises:
        ValueError: One is not known, or is there twice.
    """
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    for name, _ in pairs:
        if name not in known:
            raise ValueError(f"a parameter of {url.partition('://')[0]}:// is none of {', '.join(known)}; {ENCODE}")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a parameter of the URL is given twice")
    return dict(pairs)


class Addresses:
    """scheme://[user:password@]host:port,host:port/path?ssl=true; an IPv6 address is in brackets.

    Raises:
        ValueError: A part is not valid.
    """

    def __init__(self, url: str, default_port: int) -> None:
        scheme, _, rest = url.partition("://")
        authority, _, self.path = rest.partition("?")[0].partition("/")
        login, _, hosts = authority.rpartition("@")
        user, _, password = login.partition(":")
        self.login: dict[str, Any] = {}
        if password:
            self.login["password"] = unquote(password)
        if user:
            self.login["username"] = unquote(user)
        given = _parameters(url, ("ssl", *TLS))
        self.tls = given.pop("ssl", "").lower() in ("1", "true", "yes")
        if given and not self.tls:
            raise ValueError(f"{', '.join(given)}: needs ssl=true")
        self.tls_options: dict[str, Any] = dict(given)
        if "ssl_check_hostname" in given:
            self.tls_options["ssl_check_hostname"] = given["ssl_check_hostname"].lower() in ("1", "true", "yes")
        self.hosts: list[tuple[str, int]] = []
        for host in hosts.split(","):
            name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "")
            name = name.removeprefix("[").removesuffix("]")
            number = int(port or default_port) if (port or "0").isascii() and (port or "0").isdigit() else 0
            if not name or not 0 < number < 65536:
                raise ValueError(f"{scheme}:// needs HOST:PORT, or several with commas; {ENCODE}")
            self.hosts.append((name, number))
