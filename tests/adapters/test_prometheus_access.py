"""Credentials, certificates and tenants over the wire; and that none of the secrets stands in any text."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import logging
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from throughline.adapters.prometheus import Prometheus
from throughline.adapters.prometheus_access import SECRET_BYTES, Access
from throughline.domain.observed import MetricsFrame, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = "s3cret/word"
ANSWER = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Server:
    """A Prometheus that has nothing, and remembers the headers of each query."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status, self.headers, self.body = 200, {}, json.dumps(ANSWER)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                if "buildinfo" not in self.path:
                    outer.asked.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                # A proxy that shows what it was sent, as those for debugging do.
                self.wfile.write(outer.body.replace("@SENT@", str(self.headers)).encode())

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def one(context: ssl.SSLContext | None = None) -> Server:
        made.append(Server(context))
        return made[-1]

    yield one
    for server in made:
        server.http.shutdown()
        server.http.server_close()


def reader(access: Access) -> Prometheus:
    return Prometheus(access, window_seconds=60, timeout_seconds=5)


def written(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


# --- credentials ------------------------------------------------------------------------------------------------


async def test_a_rotated_token_is_used_with_the_next_request(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    token = tmp_path / "token"
    token.write_text("first-token\n")
    prometheus = reader(Access(server.url, bearer_token_file=str(token)))
    assert isinstance(await prometheus.frame(), MetricsFrame)
    token.write_text("second-token\n")
    await prometheus.frame()
    assert [asked["authorization"] for asked in server.asked] == ["Bearer first-token", "Bearer second-token"]


@pytest.mark.parametrize("in_url", [True, False], ids=["in the URL", "by files"])
async def test_basic_auth(serve: Callable[..., Server], tmp_path: Path, *, in_url: bool) -> None:
    server = serve()
    if in_url:
        access = Access(server.url.replace("://", "://reader:s3cret%2Fword@") + "/prometheus/")
    else:
        file = written(tmp_path / "password", f"{SECRET}\n")
        access = Access(f"{server.url}/prometheus", username="reader", password_file=file)
    assert isinstance(await reader(access).frame(), MetricsFrame)
    expected = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    assert server.asked[0]["authorization"] == f"Basic {expected}"
    assert server.paths[0].startswith("/prometheus/api/v1/query?")


async def test_tenant_and_secret_headers_and_parameters(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    written(tmp_path / "X-Api-Key", SECRET)
    (tmp_path / "..data").mkdir()  # as in a mounted Secret
    access = Access(
        server.url, headers={"X-Scope-OrgID": "a|b"}, headers_directory=str(tmp_path), parameters={"dedup": "true"}
    )
    assert isinstance(await reader(access).frame(), MetricsFrame)
    assert (server.asked[0]["x-scope-orgid"], server.asked[0]["x-api-key"]) == ("a|b", SECRET)
    assert "dedup=true" in server.paths[0]


@pytest.mark.parametrize("location", ["@OTHER@/login?token=x", "//@OTHERHOST@/api"])
async def test_nothing_is_sent_where_a_redirect_points(
    serve: Callable[..., Server], tmp_path: Path, location: str
) -> None:
    server, other = serve(), serve()
    there = location.replace("@OTHER@", other.url).replace("@OTHERHOST@", other.url.removeprefix("http://"))
    server.status, server.headers = 302, {"Location": there}
    token = written(tmp_path / "token", SECRET)
    got = await reader(Access(server.url, bearer_token_file=token, headers={"X-Scope-OrgID": "a"})).frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusUnauthorized"
    assert other.url in got.message
    assert "token=" not in got.message
    assert other.asked == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "is empty"),
        ("a\nb", "line break"),
        ("x" * (SECRET_BYTES + 1), "larger than 64 KiB"),
    ],
    ids=["missing", "empty", "two lines", "too large"],
)
async def test_credentials_that_cannot_be_read_name_the_flag_and_the_file(
    serve: Callable[..., Server], tmp_path: Path, content: str | None, words: str
) -> None:
    server, file = serve(), tmp_path / "token"
    if content is not None:
        file.write_text(content)
    got = await reader(Access(server.url, bearer_token_file=str(file))).frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusCredentialsUnreadable"
    assert words in got.message
    assert f"--prometheus-bearer-token-file {file}" in got.message
    assert server.asked == [], "nothing is asked without the credentials that were set"


# --- no secret in a text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.parametrize("way", ["url", "password", "token", "header"])
async def test_no_secret_stands_in_a_condition_or_log(
    serve: Callable[..., Server], tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve()
    server.status, server.body = status, "you sent @SENT@ and s3cret/word s3cret%2Fword"
    file = written(tmp_path / "X-Api-Key", SECRET)
    access = {
        "url": Access(server.url.replace("://", "://reader:s3cret%2Fword@")),
        "password": Access(server.url, username="reader", password_file=file),
        "token": Access(server.url, bearer_token_file=file),
        "header": Access(server.url, headers_directory=str(tmp_path)),
    }[way]
    got = await reader(access).frame()
    assert isinstance(got, Unavailable)
    encoded = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    for text in (got.message, caplog.text, repr(access)):
        assert "s3cret" not in text
        assert encoded not in text
    assert server.url in got.message


async def test_a_dead_server_is_named_without_its_password() -> None:
    got = await reader(Access("http://reader:s3cret@127.0.0.1:9/prefix")).frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusUnreachable"
    assert "http://127.0.0.1:9/prefix" in got.message
    assert "s3cret" not in got.message
    assert "reader" not in got.message


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (lambda url, _: Access(url), "sends no credentials (401): set prometheus.bearerToken"),
        (lambda url, f: Access(url, bearer_token_file=f), "bearer token (401): renew the token"),
        (lambda url, f: Access(url, username="u", password_file=f), "password (401): correct the Secret"),
        (lambda url, _: Access(url.replace("://", "://u:p@")), "correct them in settings.prometheusUrl"),
    ],
    ids=["none", "token", "password", "URL"],
)
async def test_a_401_says_what_was_sent_and_what_to_type(
    serve: Callable[..., Server], tmp_path: Path, access: Callable[[str, str], Access], words: str
) -> None:
    server = serve()
    server.status, server.body = 401, "Unauthorized"
    got = await reader(access(server.url, written(tmp_path / "f", SECRET))).frame()
    assert isinstance(got, Unavailable)
    assert (got.reason, words in got.message) == ("PrometheusUnauthorized", True), got.message


# --- TLS --------------------------------------------------------------------------------------------------------


class Authority:
    """Makes certificates for 127.0.0.1, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.ca = self._write("ca.crt", self._sign(self.name, self.key, ca=True))

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if ca:
            usage = dict.fromkeys(
                ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
                 "decipher_only"], False,
            )  # fmt: skip
            builder = builder.add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
            )
        else:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def issue(self, name: str) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(f"{name}.crt", self._sign(subject, key, ca=False)), self._write(f"{name}.key", pem)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(authority: Authority, *, ask_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.ca)
    return context


async def test_the_server_is_checked_by_the_authority_that_is_named(
    serve: Callable[..., Server], authority: Authority
) -> None:
    server = serve(tls(authority))
    assert isinstance(await reader(Access(server.url, ca_file=authority.ca)).frame(), MetricsFrame)
    got = await reader(Access(server.url)).frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusTLSFailed"
    assert "unable to get local issuer certificate" in got.message
    assert "prometheus.ca" in got.message
    assert "query=" not in got.message


async def test_a_client_certificate(serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(tls(authority, ask_client=True))
    certificate, key = authority.issue("client")
    named = Access(server.url, ca_file=authority.ca, client_certificate_file=certificate, client_key_file=key)
    assert isinstance(await reader(named).frame(), MetricsFrame)
    assert isinstance(await reader(Access(server.url, ca_file=authority.ca)).frame(), Unavailable)


async def test_an_authority_that_is_not_there_is_named(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    got = await reader(Access(server.url, ca_file=str(tmp_path / "none.crt"))).frame()
    assert isinstance(got, Unavailable)
    assert got.reason == "PrometheusCredentialsUnreadable"
    assert "--prometheus-ca-file" in got.message


# --- annotations and version ------------------------------------------------------------------------------------


async def test_warnings_of_a_partial_answer_are_kept_and_hints_on_the_query_are_not(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    warnings = [f"store {SECRET} cannot be reached", "PromQL warning: a hint", *(f"w{i}" for i in range(9))]
    server.body = json.dumps({**ANSWER, "warnings": warnings, "infos": ["PromQL info: not a counter"]})
    token = written(tmp_path / "token", SECRET)
    got = await reader(Access(server.url, bearer_token_file=token)).frame()
    assert isinstance(got, MetricsFrame)
    assert got.warnings[0] == "store [redacted] cannot be reached"
    assert len(got.warnings) == 5
    assert not any("PromQL" in text for text in got.warnings)


@pytest.mark.parametrize(("answer", "version"), [(ANSWER, None), ({"data": {"version": "2.5.0"}}, "2.5.0")])
async def test_the_version_is_asked_for_once(
    serve: Callable[..., Server], answer: dict[str, Any], version: str | None
) -> None:
    server = serve()
    server.body = json.dumps({**ANSWER, **answer, "data": {**ANSWER["data"], **answer["data"]}})  # type: ignore[dict-item]
    prometheus = reader(Access(server.url))
    for _ in range(2):
        await prometheus.frame()
    assert sum("buildinfo" in path for path in server.paths) == 1
    assert prometheus._connect().version() == version
