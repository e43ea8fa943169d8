"""YAML as people write it, and files that cannot be read."""

from pathlib import Path
from typing import Any

import pytest

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.yaml_files import bundled_files, load_yaml, read_yaml


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1), ("1.5", 1.5), ("1e-3", 1e-3), ("-2E+5", -2e5), ("true", True), ("null", None), ("[1, a]", [1, "a"]),
     ("{a: 1}", {"a": 1}), ("'1'", "1"), ("a=b", "a=b"), ("", None), ("e5", "e5"), ("1.0e-4", 1e-4)],
)  # fmt: skip
def test_yaml_as_people_write_it(word: str, value: Any) -> None:
    assert read_yaml(word) == value
    assert type(read_yaml(word)) is type(value)


@pytest.mark.parametrize("text", ["phases: [", "\tphases: 1", "a: b: c", "start: 2024-99-99", "{[1]: 2}", "a\x00b"])
def test_a_file_that_is_not_yaml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not YAML") as refused:
        load_yaml(path, what="plan")
    assert len(refused.value.errors) == 1
    assert str(path) in refused.value.errors[0]


def test_the_place_of_an_error_in_yaml_is_told() -> None:
    with pytest.raises(ValueError, match=r"^not YAML: line 2, column 9: expected ',' or '}', but got ':'$"):
        read_yaml("run: {exp_name: a\ntraining: [")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x80\x81\xff")
    (tmp_path / "default.yaml").write_text("a: 1")
    bundled = bundled_files(tmp_path)
    assert load_yaml("default", bundled) == {"a": 1}
    for place, reason in (("nowhere", "No such file"), (tmp_path, "Is a directory"), (tmp_path / "binary", "decode")):
        with pytest.raises(ConfigError, match=rf"plan: cannot read .*{reason}.*or one of default"):
            load_yaml(place, bundled, "plan")
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        load_yaml("defualt", bundled)
