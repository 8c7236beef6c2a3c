"""URLs of Redis stores. Each part is checked, so that a wrong URL is an error at start; it repeats no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
TLS = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
"""Parameters of a URL for TLS, as redis-py names them."""
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_VALUES = {
    "ssl": (*_YES, *_NO),
    "ssl_check_hostname": (*_YES, *_NO),
    "ssl_cert_reqs": ("required", "optional", "none"),
}
"""The parameters that have one of a few values."""
MAX_DATABASE = 2**31 - 1
ENCODE = "in a password, write %2F for /, %3F for ?, %23 for #, %40 for @"


def check_server_url(url: str) -> None:
    """Check a URL of redis:// or rediss://, which redis-py reads.

    redis-py passes unknown parameters on, to fail at each connection, takes database 0 for a path that is no number,
    and lets a parameter replace the user, the password or the database before it.

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
    if database and not is_database(database):
        raise ValueError(f"the path of {scheme}:// is the number of a database, as in {scheme}://HOST:6379/0")
    _parameters(url, ("client_name", *(TLS if scheme == "rediss" else ())))


def is_database(text: str) -> bool:
    """Return True if the text is the number of a database."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_DATABASE)) and int(text) <= MAX_DATABASE


def _parameters(url: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a URL's query.

    Raises:
        ValueError: One is not known, is there twice, or has a value without a meaning.
    """
    pairs = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    for name, value in pairs:
        if name not in known:
            raise ValueError(
                f"a parameter of {url.partition('://')[0]}:// is none of {', '.join(known)}: user, password and "
                f"database are written before the question mark; {ENCODE}"
            )
        if name in _VALUES and value not in _VALUES[name]:
            raise ValueError(f"{name} is one of {', '.join(_VALUES[name])}")
        if name in _FILES and not (value and Path(value).exists()):
            raise ValueError(f"{name}: there is no {value!r}")
        if name == "client_name" and not (value.isascii() and value.isprintable() and value and " " not in value):
            raise ValueError("client_name is of printable ASCII characters without spaces")
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
        self.tls = given.pop("ssl", "") in _YES
        if given and not self.tls:
            raise ValueError(f"{', '.join(given)}: needs ssl=true")
        self.tls_options: dict[str, Any] = dict(given)
        if "ssl_check_hostname" in given:
            self.tls_options["ssl_check_hostname"] = given["ssl_check_hostname"] in _YES
        self.hosts: list[tuple[str, int]] = []
        for host in hosts.split(","):
            name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "")
            name = name.removeprefix("[").removesuffix("]")
            number = int(port or default_port) if (port or "0").isascii() and (port or "0").isdigit() else 0
            if not name or not 0 < number < 65536:
                raise ValueError(f"{scheme}:// needs HOST:PORT, or several with commas; {ENCODE}")
            self.hosts.append((name, number))
