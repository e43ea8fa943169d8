"""Refusals in words, hints at what an unknown word may have meant, and YAML as people write it."""

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from rllib_moe.validation import (
    ConfigError,
    Settings,
    bundled_files,
    checks_arguments,
    did_you_mean,
    import_by_path,
    load_yaml,
    read_yaml,
)


class Inner(Settings):
    size: int = Field(1, ge=1)
    kind: Literal["a", "b"] = "a"


class Outer(Settings):
    inner: Inner = Inner()
    share: float | None = Field(None, gt=0, le=1)
    names: tuple[str, ...] = ()
    needed: str = Field("x", min_length=1)


def test_every_error_of_nested_settings_in_one_refusal() -> None:
    with pytest.raises(ConfigError) as refused:
        Outer.from_dict({"inner": {"size": 0, "kind": "c", "sise": 1}, "share": 2, "needed": "", "nmes": ()}, "file x")
    assert set(refused.value.errors) == {
        "size: expected a whole number, 1 or more, got 0",
        "kind: expected 'a' or 'b', got 'c'",
        "unknown key 'sise' (did you mean 'size'?)",
        "share: expected a finite number, above 0 and at most 1, got 2",
        "needed: expected a non-empty text, got ''",
        "unknown key 'nmes' (did you mean 'names'?)",
    }
    assert str(refused.value).startswith("file x refused:\n  - ")


@pytest.mark.parametrize("data", [None, 5, "inner", [("inner", {})], {5: 1}])
def test_no_mapping(data: Any) -> None:
    with pytest.raises(ConfigError, match="expected a mapping of names to values"):
        Outer.from_dict(data)


def test_replace_checks_the_whole() -> None:
    assert Outer().replace(share=0.5).share == 0.5
    with pytest.raises(ConfigError, match="share: expected"):
        Outer().replace(share=-1)


def test_a_function_refuses_arguments_as_settings_are_refused() -> None:
    @checks_arguments
    def walk(steps: Annotated[int, Field(ge=1)], share: Annotated[float, Field(ge=0, le=1)] | None = None) -> Any:
        return steps, share

    assert walk(3, share=0.5) == (3, 0.5)
    with pytest.raises(ConfigError) as refused:
        walk(True, share=float("nan"))
    assert refused.value.errors == (
        "steps: expected a whole number, 1 or more, got True",
        "share: expected a finite number from 0 to 1, got nan",
    )
    with pytest.raises(TypeError, match="stpes"):
        walk(1, stpes=3)  # type: ignore[call-arg]


def test_a_refusal_survives_pickling_as_ray_does_it() -> None:
    error = pickle.loads(pickle.dumps(ConfigError(["one", "two"], "schedule x")))
    assert (error.errors, error.source) == (("one", "two"), "schedule x")
    assert str(error) == "schedule x refused:\n  - one\n  - two"


def test_did_you_mean() -> None:
    assert did_you_mean("temprature", ["name", "temperature"]) == " (did you mean 'temperature'?)"
    assert did_you_mean("cartpole-v1", ["CartPole-v1", "nethack"]) == " (did you mean 'CartPole-v1'?)"
    assert did_you_mean("zzz", ["name", "Start"]) == "; expected one of name, Start"
    assert did_you_mean("zzz", ["name", "Start"], otherwise="") == ""


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


def test_import_by_path() -> None:
    assert import_by_path("pathlib:Path", "encoder") is Path
    for path, told in (("pathlib", "expected module:name"), ("nowhere:A", "No module named"), ("pathlib:Pat", "Pat")):
        with pytest.raises(ValueError, match=rf"encoder: .*{told}"):
            import_by_path(path, "encoder")
