"""From YAML to YAML: what a user writes, and every object that comes of it.

THROUGHLINE_UPDATE_GOLDEN=1 rewrites the output; read the diff before you commit it.
"""

import os

import pytest
import yaml

from tests.domain.manifest_cases import CASES, GOLDEN, render_case


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str):
    rendered = yaml.dump_all(render_case(case), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    file = GOLDEN / case / "output.yaml"
    if os.environ.get("THROUGHLINE_UPDATE_GOLDEN"):
        file.write_text(rendered)
    assert rendered == file.read_text()
