"""How Prometheus is reached: its URL, credentials, certificates and tenant, and the text that may be shown of them.

The files are read again for every request, so that a rotated token or password is used at once. Nothing here puts a
secret into a text: `base` is the only form of the URL that is shown, and `redact` cleans what others say.
"""

from __future__ import annotations

import base64
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECRET_BYTES = 64 * 1024
MAX_HEADERS = 32
# Shorter values are words of any text, and no secret.
MIN_SECRET = 4
HIDDEN = "[redacted]"
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
# Those that the client sets itself.
RESERVED_HEADERS = frozenset({"authorization", "connection", "content-length", "host", "transfer-encoding"})


class CredentialsError(Exception):
    """Credentials cannot be used. The message names the flag and the file, never the content."""


@dataclass(slots=True)
class Reply:
    """What a reply says besides its samples."""

    location: str = ""  # of a redirect, without its query
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)


# Of the query under way: the client returns the samples alone.
REPLY: ContextVar[Reply | None] = ContextVar("prometheus_reply", default=None)


@dataclass(frozen=True, slots=True)
class Access:
    """What is sent with every request. Paths name files, mostly of a mounted Secret; empty means none."""

    url: str = field(repr=False)  # may hold user:password@, which counts as basic auth
    bearer_token_file: str = ""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    client_certificate_file: str = ""
    client_key_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    headers_directory: str = ""  # one file a header: its name, its value
    parameters: Mapping[str, str] = field(default_factory=dict)  # of every query

    @property
    def base(self) -> str:
        """The URL as it is asked and shown: without credentials."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")

    @property
    def authenticates(self) -> bool:
        return bool(self.bearer_token_file or self.username or in_url(self.url))

    @property
    def certificate(self) -> tuple[str, str] | None:
        """Of the client, as requests takes it."""
        return (self.client_certificate_file, self.client_key_file) if self.client_certificate_file else None

    def __call__(self, request: Any) -> Any:
        """Sign a request: requests calls this for each one."""
        for flag, path in self._certificates():
            _read(flag, path)
        if (authorization := self._authorization()) is not None:
            request.headers["Authorization"] = authorization
        for name, value in self._all_headers():
            request.headers[name] = value
        return request

    def redact(self, text: str) -> str:
        """The text without any secret that is in use now."""
        for secret in sorted(set(self._secrets()), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _certificates(self) -> Iterator[tuple[str, str]]:
        """Files that requests reads itself, and of which it does not say which flag named them."""
        named = (
            ("--prometheus-ca-file", self.ca_file),
            ("--prometheus-client-certificate-file", self.client_certificate_file),
            ("--prometheus-client-key-file", self.client_key_file),
        )
        return ((flag, path) for flag, path in named if path)

    def _basic(self) -> tuple[str, str] | None:
        if in_url(self.url):
            parts = urlsplit(self.url)
            return unquote(parts.username or ""), unquote(parts.password or "")
        if self.username:
            return self.username, _value("--prometheus-password-file", self.password_file)
        return None

    def _authorization(self) -> str | None:
        if self.bearer_token_file:
            return f"Bearer {_value('--prometheus-bearer-token-file', self.bearer_token_file)}"
        if (basic := self._basic()) is not None:
            return f"Basic {base64.b64encode(':'.join(basic).encode()).decode()}"
        return None

    def _all_headers(self) -> Iterator[tuple[str, str]]:
        yield from self.headers.items()
        yield from self._secret_headers()

    def _secret_headers(self) -> Iterator[tuple[str, str]]:
        if not self.headers_directory:
            return
        flag = "--prometheus-headers-directory"
        try:
            # A mounted Secret has links beside its keys, whose names begin with two dots.
            files = sorted(path for path in Path(self.headers_directory).iterdir() if not path.name.startswith(".."))
        except OSError as error:
            raise CredentialsError(f"{flag} {self.headers_directory}: {error.strerror}") from error
        if len(files) > MAX_HEADERS:
            raise CredentialsError(f"{flag} {self.headers_directory}: has {len(files)} files, at most {MAX_HEADERS}")
        for path in files:
            if (problem := header_problem(path.name)) is not None:
                raise CredentialsError(f"{flag} {path}: {problem}")
            yield path.name, _value(flag, str(path))

    def _secrets(self) -> Iterator[str]:
        """All that must not be shown, in each form in which a text could hold it."""
        values: list[str] = []
        for read in (self._authorization, lambda: list(self._basic() or ())[1:], self._secret_headers):
            try:
                found = read()
                if isinstance(found, str):
                    values.append(found.partition(" ")[2])
                else:
                    values += [v if isinstance(v, str) else v[1] for v in found or ()]
            except CredentialsError:  # unreadable now, so nobody has sent it
                continue
        for value in values:
            if len(value) >= MIN_SECRET:
                yield from {value, quote(value), quote(value, safe=""), repr(value)[1:-1]}
        raw = urlsplit(self.url).password
        if raw and len(raw) >= MIN_SECRET:
            yield raw


def in_url(url: str) -> bool:
    """Whether the URL holds credentials."""
    return "@" in urlsplit(url).netloc


def header_problem(name: str) -> str | None:
    """Why a header cannot be one of the user's."""
    if not HEADER_NAME.fullmatch(name):
        return "the name is not that of an HTTP header"
    if name.lower() in RESERVED_HEADERS:
        other = "; use a bearer token or basic auth" if name.lower() == "authorization" else ""
        return f"the header {name} is set by the client itself{other}"
    return None


def _read(flag: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"{flag} {path}: {error.strerror}") from error
    # A bundle of authorities may be long; whoever uses it reads it by itself.
    if len(content) > SECRET_BYTES and flag != "--prometheus-ca-file":
        raise CredentialsError(f"{flag} {path}: is larger than {SECRET_BYTES // 1024} KiB")
    if not content.strip():
        raise CredentialsError(f"{flag} {path}: is empty")
    return content


def _value(flag: str, path: str) -> str:
    """One line of text; line ends at its end do not count."""
    try:
        text = _read(flag, path).decode().strip("\r\n")
    except UnicodeDecodeError:
        raise CredentialsError(f"{flag} {path}: is not UTF-8 text") from None
    if any(ord(c) < ord(" ") or ord(c) == 0x7F for c in text):
        raise CredentialsError(f"{flag} {path}: has a line break or another control character")
    return text


def connect(access: Access, timeout_seconds: float) -> Any:
    """A PrometheusConnect that gives up after one timeout, and sends credentials to no other host."""
    import requests  # noqa: PLC0415 - only where it is used
    from prometheus_api_client import PrometheusConnect  # noqa: PLC0415
    from urllib3.util.retry import Retry  # noqa: PLC0415

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> str | None:
            """None to another host: requests would take all headers there but one."""
            target = super().get_redirect_target(resp)
            if target is None or not self.should_strip_auth(resp.url, urljoin(resp.url, target)):  # type: ignore[no-untyped-call]
                return target
            if (reply := REPLY.get()) is not None:
                there = urlsplit(urljoin(resp.url, target))
                reply.location = f"{there.scheme}://{there.netloc.rpartition('@')[2]}{there.path}"
            return None

    class Client(PrometheusConnect):  # type: ignore[misc] # the library has no types
        def version(self) -> str | None:
            """Of Prometheus. None where the server does not tell: Thanos, Mimir, releases before 2.14."""
            response = self._session.get(f"{self.url}/api/v1/status/buildinfo", auth=self.auth, timeout=self._timeout)
            try:
                body = response.json() if response.status_code == requests.codes.ok else {}
                return str(body["data"]["version"]) or None
            except (ValueError, LookupError, TypeError):
                return None

    session = Session()
    session.verify = access.ca_file or True
    session.cert = access.certificate
    session.hooks["response"].append(_note)
    # Without a timeout requests waits without end; without this Retry a dead server costs four of them.
    return Client(url=access.base, timeout=timeout_seconds, retry=Retry(total=0), session=session, auth=access)


def _note(response: Any, *_: Any, **__: Any) -> None:
    """Keep the annotations of an answer, which the client drops."""
    reply = REPLY.get()
    if reply is None or not any(key in response.content for key in (b'"warnings"', b'"infos"')):
        return
    try:
        body = response.json()
    except ValueError:
        return  # the client says so
    if isinstance(body, dict):
        for name, kept in (("warnings", reply.warnings), ("infos", reply.infos)):
            kept += [str(text) for text in body.get(name) or ()]
