"""The cluster files: accepted by their schemas, and what they ask for fits together."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from rllib_moe.cli.experiment_flags import add_experiment_flags, experiment_of
from rllib_moe.cli.flags import Parser

ROOT = Path(__file__).parents[2]
RAY = importlib.metadata.version("ray")


@pytest.fixture
def aws() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())


@pytest.fixture
def rayjob() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text())


@pytest.fixture
def rayjob_schema() -> dict[str, Any]:
    schema = yaml.safe_load((Path(__file__).parent / "rayjob_schema.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


def test_ray_accepts_the_cluster(aws: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__path__[0]) / "ray-schema.json").read_text())
    jsonschema.validate(aws, schema)
    validate_config(prepare_config(aws))  # what `ray up` does first; it looks beyond the schema

    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate({**aws, "max_worker": 4}, schema)


def test_the_cluster_names_its_resources_and_files(aws: dict[str, Any]) -> None:
    types = aws["available_node_types"]
    assert types[aws["head_node_type"]]["resources"]["GPU"] == 1  # the learner's
    assert {name: each["resources"]["CPU"] for name, each in types.items()} == {"learner": 16, "rollout": 16}
    assert aws["docker"]["image"].startswith(f"rayproject/ray:{RAY}-py311")
    for file in aws["file_mounts"].values():
        assert (ROOT / file).is_file()
    assert any("--dashboard-host=127.0.0.1" in command for command in aws["head_start_ray_commands"])


def test_kuberay_accepts_the_job(rayjob: dict[str, Any], rayjob_schema: dict[str, Any]) -> None:
    jsonschema.validate(rayjob, rayjob_schema)

    for path, value in (
        (("entrypoint",), None),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
    ):
        broken = copy.deepcopy(rayjob)
        place = broken["spec"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, rayjob_schema)


def test_the_job_fits_its_cluster(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:2] == ["python", "scripts/train.py"]
    parser = Parser("train.py", "")
    add_experiment_flags(parser)
    config = parser.read(words[2:], experiment_of)
    groups = {group["groupName"]: group for group in spec["rayClusterSpec"]["workerGroupSpecs"]}

    def limits(name: str) -> dict[str, str]:
        return groups[name]["template"]["spec"]["containers"][0]["resources"]["limits"]

    assert config.training.num_gpus == spec["entrypointNumGpus"] == int(limits("learner")["nvidia.com/gpu"])
    assert config.training.num_workers == groups["rollout"]["replicas"] * int(limits("rollout")["cpu"])
    assert spec["rayClusterSpec"]["rayVersion"] == RAY
    environment = yaml.safe_load(spec["runtimeEnvYAML"])
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 60
    assert config.run.storage
    assert Path(config.run.output_dir).is_absolute()


def test_the_image_has_what_the_job_needs(rayjob: dict[str, Any]) -> None:
    text = (ROOT / "cluster" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{RAY}-py311" in text
    assert f"WORKDIR {yaml.safe_load(rayjob['spec']['runtimeEnvYAML'])['working_dir']}" in text
    for line in text.splitlines():
        if line.startswith("COPY"):
            sources = [word for word in line.split()[1:-1] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources), line
