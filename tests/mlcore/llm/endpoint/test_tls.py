"""Calls to a server with a certificate: one that somebody vouches for, and one that nobody does."""

from __future__ import annotations

import ipaddress
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mlcore.config import LlmConfig
from mlcore.errors import ModelUnavailableError
from mlcore.llm.endpoint.client import EndpointModel
from mlcore.records import Answer, LabelSet, Prompt, Request
from tests.support.fake_llm import FakeLlm, fake_llm, says


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that vouches for itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    plain = serialization.NoEncryption()
    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(written + made.public_bytes(serialization.Encoding.PEM))
    return path


def context(certificate: Path) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(certificate)
    return found


def ask(server: FakeLlm) -> list[Answer]:
    config = LlmConfig(kind="endpoint", model="fake", base_url=server.url, concurrency=2)
    model = EndpointModel(config, token="user-token", allowed_hosts=["127.0.0.1"], first_backoff=0.01)
    requests = [Request(key, Prompt("", f"row {key}")) for key in range(4)]
    try:
        return list(model.ask(requests, LabelSet.of("positive", "negative"), should_stop=lambda: False))
    finally:
        model.close()


def test_a_server_whose_certificate_is_vouched_for_is_asked(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    with fake_llm(says("positive"), tls=context(certificate)) as server:
        assert [answer.label for answer in ask(server)] == [0, 0, 0, 0]


def test_a_server_whose_certificate_nobody_vouches_for_is_sent_nothing(certificate: Path) -> None:
    with fake_llm(says("positive"), tls=context(certificate)) as server:
        with pytest.raises(ModelUnavailableError, match="certificate can't be trusted"):
            ask(server)
        assert server.calls == []


class PlainServer(socketserver.BaseRequestHandler):
    """What a server of plain http says to anything else."""

    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def test_an_address_that_begins_with_https_by_mistake_gets_a_sentence_of_its_own() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), PlainServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = LlmConfig(kind="endpoint", base_url=f"https://127.0.0.1:{server.server_address[1]}")
        model = EndpointModel(config, token="", allowed_hosts=["127.0.0.1"], first_backoff=0.001)
        requests = [Request(1, Prompt("", "x"))]
        answers = list(model.ask(requests, LabelSet.of("a", "b"), should_stop=lambda: False))
        model.close()
        server.shutdown()
    assert "begins with https or http" in str(answers[0].error)
