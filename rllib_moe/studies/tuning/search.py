"""One search: planned and checked, and kept in its directory."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from rllib_moe.config import ModelConfig
from rllib_moe.experiment import ENV_ARG, Experiment
from rllib_moe.runtime.files import write_whole
from rllib_moe.schedule.overrides import ENV, split_override
from rllib_moe.studies.tuning.search_config import BUNDLED, SearchConfig
from rllib_moe.studies.tuning.search_space import SearchSpace, Values
from rllib_moe.training.fit import experiment_errors
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.yaml_files import load_yaml

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

MAX_TRIED = 100
"""Trials at most that are tried before a search begins; each makes an environment."""
SEARCH = "search.yaml"
"""File, in a search's directory, of all that makes the search."""


@dataclass(frozen=True)
class Search:
    """A checked search."""

    config: SearchConfig
    """Settings beside the experiment."""
    space: SearchSpace
    """The search space, with the experiment that all trials share."""
    candidates: tuple[Values, ...] = ()
    """The trials' values; empty when Optuna proposes them, and of a search that goes on."""
    is_resumed: bool = False
    """True when the search began earlier."""

    @classmethod
    def plan(cls, config: SearchConfig, base: Experiment, shared: Mapping[str, Any] | None = None) -> Search:
        """Check a new search, and draw its trials where they are known beforehand.

        Args:
            config: Settings of the search; `exp_name` and `num_workers` replace those of the experiment.

        Raises:
            ConfigError: naming every error.
        """
        shared = {**(shared or {}), "exp_name": config.exp_name, "num_workers": config.num_workers}
        shared["resume"] = None  # trials begin anew, and so does their winner
        space = SearchSpace.from_dict(load_yaml(str(config.space), BUNDLED, "space"), base, shared)
        candidates: list[Values] = []
        if config.search == "grid":
            candidates = space.combinations()
        elif config.search == "random":
            generator = np.random.default_rng(space.example.training.seed)
            candidates = [space.draw(generator) for _ in range(config.num_trials)]
        errors = list(_fit_errors(space, candidates))
        episodes = space.example.run.episodes
        if (config.grace_episodes or 0) > episodes:
            errors.append(f"grace_episodes: expected at most episodes={episodes}, got {config.grace_episodes}")
        if (config.perturb_every or 0) >= episodes:
            errors.append(f"perturb_every: expected below episodes={episodes}, got {config.perturb_every}")
        if config.scheduler == "pbt" and len(candidates) == 1:
            errors.append("trials: pbt compares trials; expected 2 or more, got 1")
        if errors:
            raise ConfigError(errors)
        return cls(config, space, tuple(candidates))

    @classmethod
    def load(cls, directory: str | Path, address: str | None = None) -> Search:
        """Return the search that began earlier in a directory.

        Raises:
            ConfigError: There is none, it was written by another version, or its trials fit their environment no more.
        """
        path = Path(directory).resolve()  # its own name and place, whatever leads there
        file = path / SEARCH
        if not file.is_file():
            raise ConfigError([f"resume: {path} holds no search ({SEARCH} is missing)"])
        try:
            plain = load_yaml(file)
            place = {"exp_name": path.name, "output_dir": os.path.relpath(path.parent)}
            config = SearchConfig.from_dict(plain["search"]).replace(**place)
            shared = {**plain["overrides"], "exp_name": path.name}
            if address is not None:
                shared["address"] = address
            space = SearchSpace.from_dict(plain["space"], Experiment.from_dict(plain["experiment"]), shared)
        except (ValueError, KeyError, TypeError) as error:  # ConfigError is a ValueError
            raise ConfigError([f"resume: {file} is damaged or was written by another version: {error}"]) from error
        if errors := list(_fit_errors(space, ())):
            raise ConfigError(errors)
        return cls(config, space, is_resumed=True)

    def save(self, command: Sequence[str]) -> None:
        """Write the search to its directory, for `load`."""
        plain = {
            "search": self.config.to_dict(),
            "experiment": self.space.base.to_dict(),
            "overrides": dict(self.space.shared),
            "space": {"parameters": {each.name: {each.kind: list(each.values)} for each in self.space.parameters}},
        }
        text = f"# {shlex.join(command)}\n{yaml.safe_dump(plain, sort_keys=False)}"
        write_whole(self.config.directory / SEARCH, text)


def _fit_errors(space: SearchSpace, candidates: Sequence[Values]) -> Iterator[str]:
    """Yield the reasons why trials do not fit their environment.

    Of trials that are known beforehand each is tried that differs from the others in listed values of environment or
    network, up to `MAX_TRIED`. Of ranges both ends are tried, and of other trials each value, beside one draw of the
    rest.
    """
    asked = [each for each in space.parameters if any(map(_concerns_fit, each.names))]
    listed = [each.name for each in asked if not each.is_range]
    variants = list({str([each[name] for name in listed]): each for each in candidates}.values())[:MAX_TRIED]
    alone = [each for each in asked if each.is_range] if variants else asked
    values = variants[0] if variants else space.draw(np.random.default_rng(0))
    variants += [values, *({**values, each.name: value} for each in alone for value in each.values)]
    experiments = [space.apply_values(variant) for variant in variants if not space.errors(variant)]
    yield from dict.fromkeys(error for each in experiments for error in experiment_errors(each))


def _concerns_fit(name: str) -> bool:
    """Return whether an override changes the environment, the network, or what the phases ask of them."""
    key = split_override(name)[1]
    return name.startswith(ENV_ARG) or name in ModelConfig.model_fields or key.startswith(ENV) or key == "role_coef"


def trial_number(trial: Trial) -> int:
    """Return a trial's number in its search, from 0."""
    _, is_numbered, number = trial.trial_id.rpartition("_")
    if is_numbered:
        return int(number)
    # A searcher's trial (Optuna): its id is a random one, and Tune counts these from 1, in the tag.
    return int(trial.experiment_tag.partition("_")[0]) - 1


def trial_name(trial: Trial) -> str:
    """Return the name of a trial and of its directory.

    Tune keeps a reference to this function with every search: one that goes on finds it by its name in this module.
    """
    return f"trial_{trial_number(trial):05d}"
