"""Where a language model's calls may go: the address that was saved, checked again when the socket opens.

Every call goes through the connection here: one destination, no redirects, no proxies of the environment, no repetition,
and a bounded answer.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import certifi
from yarl import URL

from mlcore.errors import MessageError, ModelUnavailableError

ANSWER_BYTES = 1_000_000
CONNECT_SECONDS = 10.0
KEPT_SECONDS = 30.0  # a connection that nobody uses
HUB_ADDRESS = "https://router.huggingface.co/v1"
HEADER_BYTES = 65_536  # of one header
HEADERS = 1_000
_METADATA = {ipaddress.ip_address(each) for each in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")}
#: Networks of the sixth version whose addresses end in one of the fourth: NAT64, and RFC 2765's translated ones.
_TRANSLATED = [ipaddress.ip_network(each) for each in ("64:ff9b::/96", "::ffff:0:0:0/96")]
#: Not global, which Python 3.11's tables don't say of them: local NAT64 (RFC 8215) and protocol assignments (RFC 6890).
#: The relays of the sixth version over the fourth and segment routing lead to other addresses than they say.
_LOCAL = [
    ipaddress.ip_network(each) for each in ("64:ff9b:1::/48", "192.0.0.0/24", "192.88.99.0/24", "5f00::/16")
]
#: The middle of an address of the sixth version that ends in one of the fourth (ISATAP, RFC 5214).
_ISATAP = (0x5EFE, 0x0200_5EFE)
_VERSIONED = re.compile(r"/v\d+\w*(/|$)|/deployments/[^/]+$|/openai$")
_PORTS = {"http": 80, "https": 443}


class AnswerUnreadableError(MessageError):
    """The body is too long, or packed in a way that we don't unpack."""


class RedirectRefusedError(MessageError):
    """The server sent the call elsewhere."""


class AddressRefusedError(MessageError):
    """The host isn't allowed, or its name leads to an address that isn't."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The one place that calls may go to. ``listed``: the operator named this very host, so it may be private."""

    scheme: str
    host: str
    port: int
    listed: bool


def check_address(base_url: str, allowed_hosts: Sequence[str]) -> Destination:
    """Read the address of a server, and check it against the operator's list.

    Args:
        base_url: such as ``https://llm.example.org/v1``.
        allowed_hosts: ``host``, ``host:port``, ``*.domain``, or ``*`` for every public host.

    Raises:
        ModelUnavailableError: it is no plain http(s) address, or its host is not allowed.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError as error:
        raise ModelUnavailableError("bad_address", address=base_url[:200]) from error
    host = (parts.hostname or "").rstrip(".")
    has_more = "@" in parts.netloc or parts.fragment
    if parts.scheme not in _PORTS or not _can_be_called(parts.hostname or "") or port == 0 or has_more:
        raise ModelUnavailableError("bad_address", address=base_url[:200])
    if any(character.isspace() or ord(character) < 32 for character in base_url.strip()):
        raise ModelUnavailableError("space_in_address", address=base_url[:200])
    port = port or _PORTS[parts.scheme]
    listed = _is_listed(host, port, allowed_hosts)
    if not listed and not _matches_pattern(host, allowed_hosts):
        raise ModelUnavailableError("host_not_allowed", host=host)
    literal = _as_ip(host)
    if literal is not None and not _may_connect(literal, listed):
        raise ModelUnavailableError("internal_host", host=host)
    return Destination(parts.scheme, host, port, listed)


def chat_url(base_url: str) -> str:
    """Where chat calls to a server's address go: it is used as given where it names a version, a deployment or the path
    itself; else version 1 is meant."""
    parts = urlsplit(base_url.strip())
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions" if _VERSIONED.search(path) else "/v1/chat/completions"
    return urlunsplit(parts._replace(path=path))


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a server sent: status, headers, and the body as it was before it was packed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GuardedConnection:
    """Sends to one destination only, without redirects, retries or proxies, and reads a bounded answer, packed or
    unpacked."""

    def __init__(self, destination: Destination, *, connections: int) -> None:
        self._destination = destination
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Send, and read the whole answer, see :meth:`request`."""
        return await self.request("POST", url, headers=headers, body=body)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        most: int = ANSWER_BYTES,
    ) -> HttpResponse:
        """Send, and read the whole answer, of at most ``most`` bytes.

        Raises:
            AddressRefusedError, RedirectRefusedError, AnswerUnreadableError: see there.
            aiohttp.ClientError: no connection, or a broken one.
        """
        address = URL(url)
        self._check(address)
        async with self._opened().request(
            method,
            address,
            data=body,
            headers={**headers, "Accept-Encoding": "identity"},
            allow_redirects=False,
        ) as response:
            if 300 <= response.status < 400:
                raise RedirectRefusedError("redirected", status=response.status)
            return HttpResponse(response.status, response.headers, await _read_body(response, most))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _check(self, address: URL) -> None:
        wanted = self._destination
        hosts = [(host or "").rstrip(".") for host in (address.host, address.raw_host)]
        if (address.scheme, address.port) != (wanted.scheme, wanted.port) or wanted.host not in hosts:
            raise AddressRefusedError("other_host", host=str(address.host), wanted=wanted.host)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    keepalive_timeout=KEPT_SECONDS,
                    happy_eyeballs_delay=None,
                    socket_factory=self.open_socket,
                    ssl=_tls(),
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                max_headers=HEADERS,
                trust_env=False,
            )
        return self._session

    def open_socket(self, info: Any) -> socket.socket:
        """A socket for an address that is checked here, last: a name can lead elsewhere the second time."""
        family, kind, protocol, _name, address = info
        if not _may_connect(ipaddress.ip_address(address[0].partition("%")[0]), self._destination.listed):
            raise AddressRefusedError("internal_address", host=self._destination.host)
        return socket.socket(family, kind, protocol)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _read_body(response: aiohttp.ClientResponse, most: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "deflate"):
        raise AnswerUnreadableError("answer_packed", kind=encoding[:30])
    unpacker = zlib.decompressobj(wbits=47) if encoding in ("gzip", "deflate") else None
    parts, size, packed = [], 0, 0
    async for chunk in response.content.iter_any():
        packed += len(chunk)
        try:
            part = unpacker.decompress(chunk, most + 1 - size) if unpacker else chunk
        except zlib.error as error:
            raise AnswerUnreadableError("answer_damaged") from error
        parts.append(part)
        size += len(part)
        if max(size, packed) > most:
            raise AnswerUnreadableError("answer_too_long", count=most)
    return b"".join(parts)


def _can_be_called(host: str) -> bool:
    """Whether it is an IP address, or a name that the internet's naming has a form for. 2130706433 is 127.0.0.1: no name."""
    if _as_ip(host) is not None:
        return True
    name = host.rstrip(".")
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return bool(name) and not name.replace(".", "").isdigit()


def _is_listed(host: str, port: int, allowed: Sequence[str]) -> bool:
    literal = _as_ip(host)
    shown = f"[{host}]" if literal is not None and literal.version == 6 else host
    return any(entry.lower() in (host, shown, f"{shown}:{port}") for entry in allowed)


def _matches_pattern(host: str, allowed: Sequence[str]) -> bool:
    return any(
        entry == "*" or (entry.startswith("*.") and host.endswith(entry[1:].lower())) for entry in allowed
    )


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _may_connect(address: ipaddress.IPv4Address | ipaddress.IPv6Address, listed: bool) -> bool:
    """Link-local and metadata addresses never; other internal ones only if the operator named the host."""
    address = _carried(address)
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
        return False
    is_local = getattr(address, "is_site_local", False) or any(address in network for network in _LOCAL)
    return listed or (address.is_global and not is_local)


def _carried(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Where an address leads: that of the fourth version which one of the sixth may carry, or itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    number = int(address)
    isatap = (number >> 32) % 2**32 in _ISATAP
    if 1 < number < 2**32 or isatap or any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(number % 2**32)
    return address.ipv4_mapped or address.sixtofour or address
