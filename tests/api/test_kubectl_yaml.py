"""YAML as kubectl reads it. The values are those that `kubectl label --local -o json` gives (v1.32)."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from throughline.api import kubectl_yaml
from throughline.api.crd import to_yaml

VALUES: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "off", "OFF", "false", "False"), False),
    **dict.fromkeys(("~", "null", "Null", "NULL", ""), None),
    **{text: text for text in ("tRUE", "_1", "12:30", "1:2:3", "190:20:30.15", "1e", "0x", "0b", "1e400", "=", "512m")},
    **{text: text for text in ("2026-01-01", "2026-01-01T00:00:00Z", "1.2.3", "0o8")},
    "010": 8,
    "08": 8,
    "0o17": 15,
    "0x1F": 31,
    "0b11": 3,
    "-0b11": -3,
    "1_000": 1000,
    "1__0": 10,
    "1_": 1,
    "0_7": 7,
    "+5": 5,
    "-0": 0,
    "00": 0,
    "+0x1": 1,
    "5.": 5,
    "5.0": 5,
    "-0.0": 0,
    "1e3": 1000,
    "1.e3": 1000,
    "12e03": 12000,
    ".5": 0.5,
    "-.5": -0.5,
    "5.5": 5.5,
    ".1_4": 0.14,
    "1e-7": 1e-07,
    "1e21": 1e21,
    "9223372036854775807": 2**63 - 1,
    "9223372036854775808": 2.0**63,
    "18446744073709551616": 2.0**64,
    "!!str 5": "5",
    '!!int "5"': 5,
    "!!bool y": True,
    "!!float 5": 5,
    "!!binary aGk=": "hi",
    "!other 5": "5",
    "'y'": "y",
    '"010"': "010",
    "!!timestamp 2026-01-01": "2026-01-01",
}
KEYS = {"y": "true", "on": "true", "N": "false", "1": "1", "010": "8", "0x1F": "31", "1e3": "1000", "1.5": "1.5"} | {
    "16777217.0": "1.6777216e+07",
    "0.00001": "1e-05",
    ".inf": ".inf",
    "2026-01-01": "2026-01-01",
    "'y'": "y",
    "!!str 5": "5",
}
REFUSED = {
    "a: .nan": "cannot send .nan as JSON",
    "a: -.inf": "cannot send -.inf as JSON",
    "~: a": "no null as a key",
    "? [a]\n: b": "no list and no map",
    "18446744073709551615: a": "put 18446744073709551615 in quotes",
    "a: &x [*x]": "contains itself",
    "a: *x": "undefined alias",
    "a: {<<: 3}": "merges a map",
    "a: !!int x": "is no !!int",
    "a: !!null x": "is no !!null",
    "\ta: b": "no valid YAML",
    "a: b: c": "no valid YAML",
    "a: 1\n---foo\nb: 2": "nothing but a comment after '---'",
    "a: 1\n--- {b: 2}": "nothing but a comment after '---'",
    "a: 1\n...\nb: 2": "nothing after '...'",
    "a: " + "[" * 2000 + "]" * 2000: "nested too deeply",
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ): "aliases",
}


def read(text: str) -> list[Any]:
    return [document.value for document in kubectl_yaml.documents(text)]


@pytest.mark.parametrize(("text", "value"), VALUES.items(), ids=list(VALUES))
def test_a_value(text: str, value: Any) -> None:
    ((found,),) = [one.values() for one in read(f"a: {text}\n")]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("text", "name"), KEYS.items(), ids=list(KEYS))
def test_a_name(text: str, name: str) -> None:
    assert read(f"{text}: x\n") == [{name: "x"}]


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=list(REFUSED.values()))
def test_what_kubectl_refuses_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(kubectl_yaml.NotReadableError, match=why) as refused:
        read(text)
    assert refused.value.line >= 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: *z, q: 3}", {"q": 3, "r": 2}),
        # As go-yaml v2 does it, and against YAML: what is merged later wins.
        ("{q: 3, <<: *z}", {"q": 1, "r": 2}),
        ("{<<: [{r: 9}, *z]}", {"q": 1, "r": 9}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)
def test_merged_maps(text: str, value: dict[str, Any]) -> None:
    assert read(f"a: &z {{q: 1, r: 2}}\nb: {text}")[0]["b"] == value


def test_documents() -> None:
    text = "\ufeffa: 1\n--- # the second\n\n---\n# none\n---\r\nb: |\n  x\n   ---\n---\n"
    assert read(text) == [{"a": 1}, {"b": "x\n ---\n"}]
    assert [document.line for document in kubectl_yaml.documents(text)] == [0, 6]


def test_json() -> None:
    text = '{"a":\t5.0, "b": "y", "c": 1e3, "d": 12345678901234567890, "e": "\\/"}\n{"a": {"b": 1}}'
    assert read(text) == [{"a": 5, "b": "y", "c": 1000, "d": 12345678901234567890.0, "e": "/"}, {"a": {"b": 1}}]
    assert [document.line for document in kubectl_yaml.documents(text)] == [0, 1]
    # Braces alone do not make it JSON.
    assert read("{a: y}") == [{"a": True}]


_SCALARS = st.one_of(
    st.sampled_from([text for text in (*VALUES, *KEYS) if text[:1] not in set("!'\"")]),
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-1e6, 1e6).filter(lambda x: not x.is_integer()),
    st.text("ab:-y0.#é\n "),
)


@settings(max_examples=50)
@given(st.recursive(_SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text("abny1e.", min_size=1), x)))
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    """PyYAML's own writer leaves y and 1e3 without quotes."""
    assert read(to_yaml({"a": value})) == [{"a": value}]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_itself_reads_it_so() -> None:
    spec = "".join(f"  v{n}: {text}\n" for n, text in enumerate(VALUES))
    names = "".join(f"    {text}: x\n" for text in KEYS if text not in {"on", "N", "'y'"})
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\nspec:\n{spec}  names:\n{names}"
    command = ["kubectl", "label", "--local", "-f", "-", "a=b", "-o", "json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    (read_by_kubectl,) = read(done.stdout)
    ((mine),) = read(text)
    assert read_by_kubectl["spec"] == mine["spec"]
