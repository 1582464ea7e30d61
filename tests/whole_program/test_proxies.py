"""The program behind nginx and Caddy, as docs/deploy.md configures them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings

from tests.support.program import Program
from tests.support.services import free_port, wait_for

pytestmark = [pytest.mark.services, pytest.mark.slow]
HOST = "coral.example"
PERSON = "127.0.0.2"  # an address of this machine that is not the proxy's
MAKE = """
from django.contrib.auth.models import User
from annotation.pipeline.project.configure import create_project
owner = User.objects.create_user("olga", password="a long password")
print(create_project(name="Mail", task_type="topic", owner=owner).pk)
"""


class Site:
    """What a browser does: it connects from its own address, trusts one certificate and keeps cookies."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port, self.cookies = port, dict[str, str]()
        self._context = ssl.create_default_context(cafile=str(certificate))

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> HTTPResponse:
        connection = HTTPSConnection(HOST, self.port, timeout=20)
        plain = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(PERSON, 0))
        connection.sock = self._context.wrap_socket(plain, server_hostname=HOST)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {"Host": HOST, "Origin": f"https://{HOST}", "Cookie": cookie}
        connection.request(method, path, body, own | headers)
        answer = connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def log_in(self, password: str) -> HTTPResponse:
        html = self.ask("GET", "/login/").read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
        assert token
        form = {"username": "olga", "password": password, "csrfmiddlewaretoken": token[1]}
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", "/login/", urlencode(form), **{"Content-Type": kind})

    def open_websocket(self, path: str) -> int:
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        return self.ask("GET", path, **upgrade, **{"Sec-WebSocket-Key": key}).status


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    served = {"CORAL_HTTPS": "on", "CORAL_ALLOWED_HOSTS": f"{HOST},127.0.0.1"}
    with Program(
        tmp_path_factory.mktemp("program"), **served, CORAL_TRUSTED_ORIGINS=f"https://{HOST}"
    ) as program:
        program.start()
        yield program


@pytest.fixture(scope="module")
def project(program: Program) -> int:
    """Olga's."""
    return int(program.execute(MAKE))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a certificate for the host, with its key beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "site.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "site.key").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return folder / "site.pem"


def sample(needle: str) -> str:
    """The block of docs/deploy.md with these words."""
    blocks: list[str] = re.findall(
        r"^```\n(.*?)^```$", (settings.BASE_DIR / "docs" / "deploy.md").read_text(), re.M | re.S
    )
    return next(block for block in blocks if needle in block)


def nginx(folder: Path, port: int, upstream: str, certificate: Path) -> list[str]:
    site = sample("proxy_pass").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = re.sub(r"(ssl_certificate +)\S+;", rf"\g<1>{certificate};", site)
    site = re.sub(r"(ssl_certificate_key +)\S+;", rf"\g<1>{certificate.with_suffix('.key')};", site)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    site = site.replace("http://127.0.0.1:8000", upstream)
    path = folder / "nginx.conf"
    head = f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; events {{}}"
    path.write_text(f"{head}\nhttp {{ access_log off; {places}\n{site}\n}}")
    return ["nginx", "-p", str(folder), "-c", str(path)]


def caddy(folder: Path, port: int, upstream: str, certificate: Path) -> list[str]:
    site = sample("reverse_proxy").replace(f"{HOST} {{", f"{HOST}:{port} {{\n\tbind 127.0.0.1", 1)
    site = site.replace(
        "\treverse_proxy", f"\ttls {certificate} {certificate.with_suffix('.key')}\n\treverse_proxy"
    )
    path = folder / "Caddyfile"
    path.write_text(
        "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
        + site.replace("127.0.0.1:8000", upstream.partition("//")[2])
    )
    return ["caddy", "run", "--config", str(path), "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def site(
    request: pytest.FixtureRequest,
    program: Program,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The program's address behind one of them."""
    name = request.param.__name__
    if shutil.which(name) is None and os.environ.get("CI") != "true":
        pytest.skip(f"There is no {name} on this machine.")
    port, folder = free_port(), tmp_path_factory.mktemp(name)
    command = request.param(folder, port, program.address, certificate)
    with (folder / "log").open("wb") as log:
        home = {
            **os.environ,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        server = subprocess.Popen(command, stdout=log, stderr=log, env=home)
    try:
        wait_for(lambda: is_open(port, server, folder / "log"), seconds=20, what=f"{name} listens")
        yield Site(port, certificate)
    finally:
        server.terminate()
        server.wait(20)


def is_open(port: int, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_people_log_in_from_their_own_address_and_see_progress_live(
    program: Program, project: int, site: Site
) -> None:
    assert site.log_in("a wrong password").status == 200
    attempts = program.query("SELECT ip_address FROM axes_accessattempt WHERE username = 'olga'")
    assert {address for (address,) in attempts} == {PERSON}
    assert site.log_in("a long password").status == 302
    assert site.ask("GET", f"/projects/{project}/configure/data/").status == 200
    assert site.open_websocket(f"/ws/projects/{project}/goal/") == 101


def test_cookies_are_for_https_alone(site: Site) -> None:
    answer = site.ask("GET", "/login/")
    assert answer.headers["Strict-Transport-Security"]
    assert all("Secure" in line for line in answer.headers.get_all("Set-Cookie", []))


def test_a_health_check_needs_no_https(program: Program) -> None:
    with socket.create_connection(("127.0.0.1", int(program.address.rpartition(":")[2]))) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 200")
