from __future__ import annotations

import argparse

import pytest
from pydantic import ValidationError
from throughline import settings


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
