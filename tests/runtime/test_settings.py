from __future__ import annotations

import argparse

import pytest
from pydantic import ValidationError
from throughline import settings
from throughline.api.pods import PodIDs


def test_flags_come_before_the_environment_and_that_before_defaults() -> None:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    flags = vars(parser.parse_args(["--workers", "3"]))
    loaded = settings.load(flags, {"THROUGHLINE_WORKERS": "9", "THROUGHLINE_METRICS_WINDOW_SECONDS": "30"})
    assert (loaded.workers, loaded.metrics_window_seconds, loaded.decision_interval_seconds) == (3, 30, 15)


def test_every_setting_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    assert settings.Settings.model_fields.keys() <= {a.dest for a in parser._actions}


def test_namespaces_are_a_list() -> None:
    assert settings.load({"namespaces": "a, b,"}, {}).watched_namespaces == ("a", "b")
    assert settings.load({}, {}).watched_namespaces == ()


@pytest.mark.parametrize(
    "bad", [{"workers": "0"}, {"log_level": "loud"}, {"lease_renew_deadline_seconds": "20"}, {"metrics_port": "70000"}]
)
def test_bad_values_are_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        settings.load(bad, {})


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"prometheus_url": "prometheus:9090"}, "must be http"),
        ({"prometheus_url": "https://u:s3cret@[x"}, "must be http"),
        ({"prometheus_url": "http://u:s3cret@p:9090?dedup=true"}, "--prometheus-parameters"),
        ({"prometheus_username": "u"}, "need each other"),
        ({"prometheus_client_key_file": "k"}, "need each other"),
        ({"prometheus_bearer_token_file": "t", "prometheus_url": "http://u:s3cret@p"}, "one kind of credentials"),
        ({"prometheus_headers": "Authorization=Basic s3cret"}, "use a bearer token or basic auth"),
        ({"prometheus_headers": "X Y=s3cret"}, "not that of an HTTP header"),
        ({"prometheus_headers": "X-A=s3cret\nb"}, "not printable"),
        ({"prometheus_headers": "s3cret"}, "NAME=VALUE"),
        ({"prometheus_parameters": "a=1,a=2"}, "each name once"),
    ],
    ids=str,
)
def test_how_prometheus_is_reached_is_checked_and_no_secret_shown(bad: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings.load(bad, {})
    # What `throughline run` prints.
    said = "; ".join(problem["msg"] for problem in refused.value.errors(include_url=False))
    assert words in said
    assert "s3cret" not in said


def test_access_to_prometheus_from_settings() -> None:
    access = settings.load(
        {
            "prometheus_url": "https://u:s3cret@mimir:8080/prometheus/",
            "prometheus_headers": "X-Scope-OrgID=a|b, X-B=c=d",
        },
        {},
    ).prometheus_access
    assert access.base == "https://mimir:8080/prometheus"
    assert access.headers == {"X-Scope-OrgID": "a|b", "X-B": "c=d"}


def test_pod_monitors_get_labels() -> None:
    loaded = settings.load({"pod_monitor_labels": "release=kube-prometheus-stack, team.example/a=b"}, {})
    assert dict(loaded.monitor_labels) == {"release": "kube-prometheus-stack", "team.example/a": "b"}
    assert settings.load({}, {}).monitor_labels == ()


@pytest.mark.parametrize("bad", ["release", "a b=c", "a=b c", "a=b,a=c", f"a={'b' * 64}", "x/y/z=b"])
def test_what_is_no_label_of_a_pod_monitor_is_refused(bad: str) -> None:
    with pytest.raises(ValidationError):
        settings.load({"pod_monitor_labels": bad}, {})


def test_ids_of_pods_are_left_to_the_cluster_where_that_is_said() -> None:
    assert settings.load({}, {}).ids_of_pods is PodIDs.FIXED
    assert settings.load({"pod_ids": "assigned"}, {}).ids_of_pods is PodIDs.ASSIGNED
    with pytest.raises(ValidationError):
        settings.load({"pod_ids": "root"}, {})
