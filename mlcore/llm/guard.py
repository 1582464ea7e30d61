"""Where a language model's calls may go: the address that was saved, checked again when the socket opens.

The hub's client on its own follows redirects, never gives up, reads without limit, obeys proxies from the environment,
and sends what it doesn't take for an address to a public router. Every call therefore goes through the transport here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpx2
from httpcore2 import AnyIOBackend, AsyncConnectionPool, AsyncNetworkBackend

from mlcore.errors import ModelUnavailableError

ANSWER_BYTES = 1_000_000
CONNECT_SECONDS = 10.0
HUB_HOST = "router.huggingface.co"
_METADATA = {ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")}
_PORTS = {"http": 80, "https": 443}


class AnswerUnreadableError(httpx2.TransportError):
    """The body is too long, or packed in a way that we don't unpack."""


class RedirectRefusedError(httpx2.TransportError):
    """The server sent the call elsewhere."""


class AddressRefusedError(httpx2.TransportError):
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
        raise ModelUnavailableError(f"“{base_url[:200]}” is not an address. {_HOW}") from error
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not host or parts.username or parts.query or parts.fragment:
        raise ModelUnavailableError(f"“{base_url[:200]}” is not a server's address. {_HOW}")
    if any(character.isspace() or ord(character) < 32 for character in base_url.strip()):
        raise ModelUnavailableError(f"“{base_url[:200]}” holds a space. {_HOW}")
    port = port or _PORTS[parts.scheme]
    listed = _is_listed(host, port, allowed_hosts)
    if not listed and not _matches_pattern(host, allowed_hosts):
        raise ModelUnavailableError(
            f"The host “{host}” is not allowed. Ask the operator to add it to the list of allowed hosts."
        )
    literal = _as_ip(host)
    if literal is not None and not _may_connect(literal, listed):
        raise ModelUnavailableError(f"The host “{host}” is not allowed: it is an internal address.")
    return Destination(parts.scheme, host, port, listed)


_HOW = "Write it as http(s)://host:port/path, without a user name or a question mark."


def hub_destination() -> Destination:
    return Destination("https", HUB_HOST, 443, listed=False)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends to one destination only, without redirects, retries or proxies, and reads at most ``ANSWER_BYTES``, packed or
    unpacked. ``send_token``: without a token of the user's, none is sent, least of all the machine's own."""

    def __init__(self, destination: Destination, *, connections: int, send_token: bool) -> None:
        self._destination = destination
        self._send_token = send_token
        self._context = ssl.create_default_context(cafile=certifi.where())
        self._turns = asyncio.Semaphore(connections)
        self._lanes: list[httpx2.AsyncHTTPTransport] = []
        self._free: list[httpx2.AsyncHTTPTransport] = []

    def _new_lane(self) -> httpx2.AsyncHTTPTransport:
        """A pool of one connection: a pool of many looks through all of them twice for every call."""
        lane = httpx2.AsyncHTTPTransport(verify=self._context, trust_env=False)
        lane._pool = AsyncConnectionPool(
            ssl_context=self._context,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=30.0,
            network_backend=GuardedBackend(self._destination),
        )
        self._lanes.append(lane)
        return lane

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url, wanted = request.url, self._destination
        port = url.port or _PORTS.get(url.scheme, 0)
        if (url.scheme, url.host.rstrip("."), port) != (wanted.scheme, wanted.host, wanted.port):
            raise AddressRefusedError(f"A call to {url.host} was refused: only {wanted.host} was saved.")
        request.headers["Accept-Encoding"] = "identity"
        if not self._send_token:
            request.headers.pop("Authorization", None)
        async with self._turns:
            lane = self._free.pop() if self._free else self._new_lane()
            try:
                return await self._send(lane, request)
            finally:
                self._free.append(lane)

    async def _send(self, lane: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> httpx2.Response:
        response = await lane.handle_async_request(request)
        try:
            if 300 <= response.status_code < 400:
                raise RedirectRefusedError(f"The server answered with a redirect ({response.status_code}).")
            body = await _read_body(response)
        finally:
            await response.aclose()
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        read = httpx2.Response(response.status_code, headers=headers, content=body, request=request)
        read.encoding = "utf-8"  # JSON is; what a server names may be no encoding of text at all
        return read

    async def aclose(self) -> None:
        for lane in self._lanes:
            await lane.aclose()


class GuardedBackend(AsyncNetworkBackend):
    """Opens sockets to addresses that were checked, not to names: a name can lead elsewhere the second time."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._backend = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx2.ConnectError(f"The name {host} is unknown.") from error
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not all(_may_connect(address, self._destination.listed) for address in addresses):
            raise AddressRefusedError(f"{host} leads to an internal address, which isn't allowed.")
        failure: Exception | None = None
        for address in dict.fromkeys(addresses):
            try:
                return await self._backend.connect_tcp(
                    str(address), port, timeout or CONNECT_SECONDS, local_address, socket_options
                )
            except Exception as error:  # the next address of the name may work
                failure = error
        raise failure or httpx2.ConnectError(f"The name {host} leads to no address.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _read_body(response: httpx2.Response) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "deflate"):
        raise AnswerUnreadableError(f"The answer is packed as {encoding[:30]}, which wasn't asked for.")
    unpacker = zlib.decompressobj(wbits=47) if encoding in ("gzip", "deflate") else None
    parts, size, packed = [], 0, 0
    async for chunk in response.stream:  # type: ignore[union-attr]
        packed += len(chunk)
        try:
            part = unpacker.decompress(chunk, ANSWER_BYTES + 1 - size) if unpacker else chunk
        except zlib.error as error:
            raise AnswerUnreadableError("The answer's packing is damaged.") from error
        parts.append(part)
        size += len(part)
        if max(size, packed) > ANSWER_BYTES:
            raise AnswerUnreadableError(f"The answer is longer than {ANSWER_BYTES:,} bytes.")
    return b"".join(parts)


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
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
        return False
    return listed or address.is_global
