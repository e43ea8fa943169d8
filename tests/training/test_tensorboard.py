"""Values that TensorBoard shows of a run, read from its event file by TensorBoard's own reader."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rllib_moe import metrics as m
from rllib_moe.models.gate_histograms import gate_histograms
from rllib_moe.training.run_directory import TEXT_KEYS, RunDirectory, read_rows


def read(path: Path) -> EventAccumulator:
    return EventAccumulator(str(path), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0}).Reload()


def test_a_histogram_keeps_its_counts(tmp_path: Path) -> None:
    row = {m.EPISODES_TOTAL.key: 7, m.PHASE.key: "warmup", m.SCORE_MEAN.key: math.nan}
    histograms = gate_histograms(torch.tensor([[1.0, 0.0]] * 3 + [[0.5, 0.5]]))
    directory = RunDirectory(tmp_path)
    directory.append(row, {key: vars(histogram) for key, histogram in histograms.items()})
    directory.close()

    events = read(tmp_path)

    (event,) = events.Histograms(m.gate_weight(0).key)
    assert event.step == 7
    value = event.histogram_value
    assert (value.min, value.max, value.num, value.sum) == (0.5, 1.0, 4, 3.5)
    counted = {round(limit, 3): count for limit, count in zip(value.bucket_limit, value.bucket, strict=True) if count}
    assert counted == {0.55: 1, 1.0: 3}
    assert m.SCORE_MEAN.key not in events.Tags()["scalars"]


def test_every_metric_of_a_real_run_is_there(trained_runs: Callable[[int], Path]) -> None:
    """Of the run that other tests read too."""
    run = trained_runs(48)
    events, rows = read(run), read_rows(run / "progress.csv")

    shares = [m.expert_share(index) for index in range(4)]
    for metric in (*m.METRICS, *shares):
        finite = [row for row in rows if metric.key not in TEXT_KEYS and math.isfinite(row[metric.key])]
        if not finite:  # a word, or never measured
            assert metric.key not in events.Tags()["scalars"]
            continue
        scalars = events.Scalars(metric.key)
        assert [scalar.step for scalar in scalars] == [row[m.EPISODES_TOTAL.key] for row in finite]
        assert [scalar.value for scalar in scalars] == pytest.approx([row[metric.key] for row in finite], rel=1e-6)
    for key in TEXT_KEYS:
        words = [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{key}/text_summary")]
        assert words == list(dict.fromkeys(row[key] for row in rows))
    for distribution in (m.ALPHA_ENTROPIES, *(m.gate_weight(index) for index in range(4))):
        drawn = events.Histograms(distribution.key)
        assert [event.step for event in drawn] == [row[m.EPISODES_TOTAL.key] for row in rows]
        assert {event.histogram_value.num for event in drawn} == {64}  # the states of a minibatch
