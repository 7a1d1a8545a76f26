"""Settings of the operator process: command line first, then THROUGHLINE_* of the environment, then defaults."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from throughline.adapters.prometheus_access import Access, header_problem, in_url
from throughline.api.labels import LABEL_KEY, LABEL_VALUE, MAX_LABEL_VALUE
from throughline.api.pods import PodIDs
from throughline.domain.manifests import RenderOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

PREFIX = "THROUGHLINE_"


class Settings(BaseModel):
    """One field per flag and environment variable: `metrics_poll_seconds` is --metrics-poll-seconds and
    THROUGHLINE_METRICS_POLL_SECONDS.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prometheus_url: Annotated[str, Field(description="Prometheus that scrapes the Triton pods.")] = (
        "http://prometheus-operated.monitoring:9090"
    )
    prometheus_timeout_seconds: Annotated[float, Field(gt=0)] = 10
    prometheus_bearer_token_file: Annotated[
        str, Field(description="Token sent to Prometheus, read again for every request.")
    ] = ""
    prometheus_username: Annotated[str, Field(description="User name of basic auth at Prometheus.")] = ""
    prometheus_password_file: Annotated[
        str, Field(description="Password of basic auth, read again for every request.")
    ] = ""
    prometheus_ca_file: Annotated[
        str, Field(description="Authorities (PEM) that Prometheus's certificate is checked by. Empty: the system's.")
    ] = ""
    prometheus_client_certificate_file: Annotated[
        str, Field(description="Client certificate (PEM) for Prometheus; needs the key's file, too.")
    ] = ""
    prometheus_client_key_file: Annotated[str, Field(description="Private key (PEM) of the client certificate.")] = ""
    prometheus_headers: Annotated[
        str, Field(description="Sent to Prometheus: NAME=VALUE, comma-separated, such as X-Scope-OrgID=team-a.")
    ] = ""
    prometheus_headers_directory: Annotated[
        str, Field(description="Secret headers for Prometheus: one file each, named like the header.")
    ] = ""
    prometheus_parameters: Annotated[
        str, Field(description="Sent with every query: NAME=VALUE, comma-separated, such as partial_response=false.")
    ] = ""
    metrics_window_seconds: Annotated[int, Field(ge=10, description="Window of every rate.")] = 60
    metrics_poll_seconds: Annotated[float, Field(ge=1, description="How often Prometheus is asked, once for all.")] = 15
    decision_interval_seconds: Annotated[float, Field(ge=1, description="Longest time between two decisions.")] = 15
    prometheus_namespaces: Annotated[
        str, Field(description="Comma-separated; who may read the servers' metrics, besides this one. Empty: any pod.")
    ] = ""
    default_triton_image: Annotated[
        str, Field(description="Image of services that name none, in a pool that names none.")
    ] = "nvcr.io/nvidia/tritonserver:25.10-py3"
    evaluator_image: Annotated[
        str, Field(description="Image of the Jobs that evaluate models. Empty: nothing is evaluated.")
    ] = ""
    signing_key_file: Annotated[
        str, Field(description="Private key (PEM) that signs statements about models. Empty: nothing is signed.")
    ] = ""
    triton_timeout_seconds: Annotated[float, Field(gt=0, description="For every call but a load.")] = 5
    triton_load_timeout_seconds: Annotated[float, Field(gt=0)] = 120
    batch_apply_seconds: Annotated[
        float, Field(gt=0, description="How long one pass may spend on loading settings; the next pass goes on.")
    ] = 300
    namespaces: Annotated[str, Field(description="Comma-separated; empty: all.")] = ""
    operator_namespace: Annotated[str, Field(description="Where the Lease is; from the downward API.")] = "default"
    # A container that restarts in its pod is the same candidate and need not wait for its own Lease; outside of a pod
    # two may run on one host.
    pod_name: Annotated[str, Field(description="Identity in the Lease; from the downward API.")] = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}"
    )
    leader_election: bool = True
    lease_name: str = "throughline"
    lease_duration_seconds: Annotated[float, Field(ge=3)] = 15
    lease_renew_deadline_seconds: Annotated[float, Field(ge=2)] = 10
    lease_retry_seconds: Annotated[float, Field(gt=0)] = 2
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    workers: Annotated[int, Field(ge=1, le=256, description="Services reconciled at the same time.")] = 16
    resync_seconds: Annotated[float, Field(ge=30, description="How often every watched kind is listed again.")] = 600
    shutdown_seconds: Annotated[float, Field(ge=0, description="For reconciles under way when SIGTERM comes.")] = 20
    pod_monitor: Annotated[
        Literal["auto", "always", "never"], Field(description="PodMonitor per service; auto: where its CRD exists.")
    ] = "auto"
    pod_monitor_labels: Annotated[
        str, Field(description="Comma-separated KEY=VALUE; labels of PodMonitors, which your Prometheus selects by.")
    ] = ""
    pod_ids: Annotated[
        Literal["fixed", "assigned"],
        Field(
            description="User and groups of pods that name none: fixed (1000), or assigned by the cluster (OpenShift)."
        ),
    ] = "fixed"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"

    @model_validator(mode="after")
    def _lease_times_fit(self) -> Settings:
        if not self.lease_retry_seconds < self.lease_renew_deadline_seconds < self.lease_duration_seconds:
            raise ValueError(
                "lease times must grow: lease_retry_seconds < lease_renew_deadline_seconds < lease_duration_seconds"
            )
        return self

    @field_validator("prometheus_url")
    @classmethod
    def _is_base_url(cls, url: str) -> str:
        try:  # no message shows the URL: it may hold a password
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("must be http://HOST[:PORT][/PATH] or https://…")
        if parts.query or parts.fragment:
            raise ValueError("must end with the path; give parameters of queries by --prometheus-parameters")
        return url

    @field_validator("prometheus_headers", "prometheus_parameters")
    @classmethod
    def _are_pairs(cls, text: str) -> str:
        _pairs(text)
        return text

    @field_validator("prometheus_headers")
    @classmethod
    def _are_headers(cls, text: str) -> str:
        for name, value in _pairs(text).items():
            if (problem := header_problem(name)) is not None:
                raise ValueError(problem)
            if not value.isprintable() or not value.isascii():
                raise ValueError(f"the value of {name} is not printable ASCII")
        return text

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Settings:
        ways = {
            "--prometheus-bearer-token-file": bool(self.prometheus_bearer_token_file),
            "--prometheus-username": bool(self.prometheus_username),
            "user:password in --prometheus-url": in_url(self.prometheus_url),
        }
        given = [way for way, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"Prometheus takes one kind of credentials, but these are given: {', '.join(given)}")
        if bool(self.prometheus_username) != bool(self.prometheus_password_file):
            raise ValueError("--prometheus-username and --prometheus-password-file need each other")
        if bool(self.prometheus_client_certificate_file) != bool(self.prometheus_client_key_file):
            raise ValueError("--prometheus-client-certificate-file and --prometheus-client-key-file need each other")
        return self

    @property
    def prometheus_access(self) -> Access:
        return Access(
            url=self.prometheus_url,
            bearer_token_file=self.prometheus_bearer_token_file,
            username=self.prometheus_username,
            password_file=self.prometheus_password_file,
            ca_file=self.prometheus_ca_file,
            client_certificate_file=self.prometheus_client_certificate_file,
            client_key_file=self.prometheus_client_key_file,
            headers=_pairs(self.prometheus_headers),
            headers_directory=self.prometheus_headers_directory,
            parameters=_pairs(self.prometheus_parameters),
        )

    @field_validator("pod_monitor_labels")
    @classmethod
    def _are_labels(cls, text: str) -> str:
        for key, value in _pairs(text).items():
            if not re.search(LABEL_KEY, key) or not re.search(LABEL_VALUE, value) or len(value) > MAX_LABEL_VALUE:
                raise ValueError(f"{key}={value} is no label; write KEY=VALUE, with commas between")
        return text

    @property
    def ids_of_pods(self) -> PodIDs:
        return PodIDs(self.pod_ids.capitalize())

    @property
    def monitor_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(_pairs(self.pod_monitor_labels).items()))

    def render_options(self, *, pod_monitors: bool) -> RenderOptions:
        """What all services are rendered with. `pod_monitors`: whether the cluster has that kind."""
        return RenderOptions(
            default_image=self.default_triton_image,
            operator_namespace=self.operator_namespace,
            prometheus_namespaces=self.metrics_readers,
            pod_monitor=self.pod_monitor == "always" or (self.pod_monitor == "auto" and pod_monitors),
            pod_monitor_labels=self.monitor_labels,
            pod_ids=self.ids_of_pods,
            evaluator_image=self.evaluator_image,
        )

    @property
    def watched_namespaces(self) -> tuple[str, ...]:
        return _names(self.namespaces)

    @property
    def metrics_readers(self) -> tuple[str, ...]:
        return _names(self.prometheus_namespaces)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _pairs(text: str) -> dict[str, str]:
    """NAME=VALUE, comma-separated."""
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or name.strip() in pairs:
            raise ValueError("must be NAME=VALUE, comma-separated, each name once")
        pairs[name.strip()] = value.strip()
    return pairs


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting."""
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            default=None,
            metavar=str(default).upper() if isinstance(default, bool) else "VALUE",
            help=f"{field.description or name.replace('_', ' ')} (default: {default!s})".replace("%", "%%"),
        )


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from flags, else environment, else defaults; raises pydantic's ValidationError."""
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        if flags.get(name) is not None:
            values[name] = flags[name]
        elif environ.get(PREFIX + name.upper()):
            values[name] = environ[PREFIX + name.upper()]
    return Settings.model_validate(values)
