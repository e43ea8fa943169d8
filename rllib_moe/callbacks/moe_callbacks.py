"""The callbacks of every training: metrics and curriculum as one class."""

from __future__ import annotations

from rllib_moe.callbacks.episode_metrics import EpisodeMetrics
from rllib_moe.callbacks.phase_curriculum import PhaseCurriculum


class MoECallbacks(EpisodeMetrics, PhaseCurriculum):
    """Both callbacks as one class: RLlib's way of combining several drops the hook for recreated workers.

    The order matters: an iteration's measures are taken before the next phase is applied.
    """
