"""What failed between the operator and Prometheus: whose it is and what to type, without a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from throughline.adapters.prometheus_access import CredentialsError
from throughline.domain.observed import Unavailable

if TYPE_CHECKING:
    from throughline.adapters.prometheus_access import Access, Reply

# PrometheusConnect puts the status into its exception's text alone.
STATUS = re.compile(r"HTTP Status Code (\d{3})")
TEXT_LENGTH = 300
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404


def unavailable(error: Exception, access: Access, reply: Reply) -> Unavailable:
    """The error of one query in the words of a condition."""
    import requests  # noqa: PLC0415 - only where it is used

    where = f"Prometheus at {access.base}"
    if isinstance(error, CredentialsError):
        return Unavailable(
            "PrometheusCredentialsUnreadable",
            f"the operator cannot read its credentials for Prometheus: {error}; correct the Secret that the chart's "
            "values under `prometheus` name",
        )
    if isinstance(error, requests.exceptions.SSLError):
        return Unavailable(
            "PrometheusTLSFailed",
            f"{where} and the operator cannot agree on TLS ({_tls_cause(error)}): name the authority of its "
            "certificate by prometheus.ca of the chart (--prometheus-ca-file), a host that the certificate is for by "
            "settings.prometheusUrl, and a client certificate by prometheus.clientCertificate where it asks for one",
        )
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return Unavailable(
            "PrometheusUnreachable",
            f"{where} does not answer ({type(error).__name__}): check --prometheus-url, the network policy and that "
            "Prometheus runs",
        )
    text = access.redact(str(error))[:TEXT_LENGTH]
    if reply.location:
        return Unavailable(
            "PrometheusUnauthorized",
            f"{where} redirects to another host, {access.redact(reply.location)[:TEXT_LENGTH]}, to which the operator "
            "sends nothing: set settings.prometheusUrl to the API itself; where that is a login page, set credentials "
            "by the chart's values under `prometheus`",
        )
    found = STATUS.search(str(error))
    status = int(found.group(1)) if found else 0
    if status in {UNAUTHORIZED, FORBIDDEN}:
        return Unavailable("PrometheusUnauthorized", f"{where} {_denied(status, access)}; it said: {text}")
    prefix = (
        "; the URL needs the path under which the API is, such as /prometheus at Mimir" if status == NOT_FOUND else ""
    )
    return Unavailable(
        "PrometheusQueryFailed",
        f"{where} refused a query: {text}; check that --prometheus-url is the base of the Prometheus API{prefix}",
    )


def _denied(status: int, access: Access) -> str:
    """Which credentials were refused, and where they are set."""
    if access.bearer_token_file:
        used, fix = "bearer token", "renew the token that prometheus.bearerToken of the chart names"
    elif access.username:
        used, fix = "user name and password", "correct the Secret that prometheus.basicAuth of the chart names"
    elif access.authenticates:
        used, fix = "user name and password", "correct them in settings.prometheusUrl"
    else:
        return (
            f"refuses the operator, which sends no credentials ({status}): set prometheus.bearerToken or "
            "prometheus.basicAuth of the chart, and the tenant by prometheus.headers where it serves several"
        )
    if status == FORBIDDEN:
        fix = "grant them the right to query (on OpenShift: the ClusterRole cluster-monitoring-view)"
    return f"refuses the operator's {used} ({status}): {fix}"


def _tls_cause(error: Exception) -> str:
    """The innermost words: the outer ones repeat the URL of the query."""
    reason = getattr(error.args[0], "reason", error) if error.args else error
    return re.sub(r" \(_ssl\.c:\d+\)", "", str(reason))[:TEXT_LENGTH]
