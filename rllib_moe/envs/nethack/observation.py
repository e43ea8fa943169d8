"""From a running game to one graph observation, in a single compiled pass.

Owns the order of the work (ground, paths, nodes, features, crop, mask, flags); each piece of work is the subject of its
own module.
"""

from typing import Any, Final

import numpy as np
from gymnasium import spaces
from nle import nethack

from rllib_moe.envs.graph_space import graph_space
from rllib_moe.envs.nethack import glyphs as g
from rllib_moe.envs.nethack.action_mask import mask_answers, mask_free_actions
from rllib_moe.envs.nethack.action_sets import ACTION_SETS, ActionSet, FurtherMemory
from rllib_moe.envs.nethack.actions import EAT, FIRST_MOVE, NUM_ACTIONS, NUM_DIRECTIONS
from rllib_moe.envs.nethack.candidates import collect_candidates, thin
from rllib_moe.envs.nethack.characters import RANDOM
from rllib_moe.envs.nethack.corpses import CorpseMemory
from rllib_moe.envs.nethack.features import feature_names, write_features, write_message_cues, write_path_summary
from rllib_moe.envs.nethack.hero import cell_of
from rllib_moe.envs.nethack.level_memory import MAP_SHAPE, LevelMemory, learn_map
from rllib_moe.envs.nethack.path_search import search_paths
from rllib_moe.envs.nethack.prompts import Prompt
from rllib_moe.envs.nethack.scene_flags import MONSTER_ADJACENT, ROLE_NAMES, SCENE_FLAGS, write_scene
from rllib_moe.envs.nethack.scene_graph import NUM_EDGE_TYPES, NUM_NODE_FEATURES, Graph, write_graph
from rllib_moe.envs.nethack.state import NO_ACTION, Circumstances, State
from rllib_moe.runtime.numba_cache import compiled

CROP_RADIUS: Final = 4
CROP_SIZE: Final = 2 * CROP_RADIUS + 1


class ObservationBuilder:
    """Builds the observations of one environment.

    Args:
        max_nodes: N, the hero included.
        action_mask: whether there is the leaf ``action_mask``.
        path_summary: whether ``features`` has the path summary.
        further: actions beyond the 23.
        num_tasks: width of the leaf ``task``; 0 leaves it out.
        roles_are_tasks: whether the leaf ``roles`` is the task as well, not of ``scene_flags``.

    Attributes:
        num_actions: number of actions.
        space: space of the observations.
    """

    def __init__(
        self,
        max_nodes: int,
        *,
        action_mask: bool = True,
        path_summary: bool = True,
        further: ActionSet = ACTION_SETS["score"],
        num_tasks: int = 0,
        roles_are_tasks: bool = False,
    ) -> None:
        self._max_nodes = max_nodes
        self._has_mask = action_mask
        self._path_summary = path_summary
        self._num_tasks, self._roles_are_tasks = num_tasks, roles_are_tasks
        self._num_features = len(feature_names(path_summary=path_summary)) + len(further.features)
        self._further = further
        self.num_actions = NUM_ACTIONS + len(further.names)
        extras = {"crop": spaces.Box(0, g.NUM_CROP_CLASSES - 1, (CROP_SIZE, CROP_SIZE), np.uint8)}
        if num_tasks:
            extras["task"] = spaces.Box(0, 1, (num_tasks,), np.float32)
        self.space = graph_space(
            max_nodes=max_nodes,
            node_features=NUM_NODE_FEATURES,
            features=self._num_features,
            num_edge_types=NUM_EDGE_TYPES,
            num_node_types=g.NUM_NODE_TYPES,
            num_actions=self.num_actions if action_mask else None,
            num_roles=num_tasks if roles_are_tasks else len(ROLE_NAMES),
            extras=extras,
        )
        self._positions = np.zeros((max_nodes, 2), dtype=np.int64)
        self._node_mask = np.zeros(max_nodes, dtype=np.uint8)
        self._scene = np.zeros(len(SCENE_FLAGS), dtype=np.uint8)

    def positions(self) -> np.ndarray:
        """Row and column [n, 2] on the map of the nodes last built."""
        return self._positions[: int(self._node_mask.sum())].copy()

    def build(
        self,
        glyphs: np.ndarray,
        blstats: np.ndarray,
        message: bytes,
        memory: LevelMemory,
        circumstances: Circumstances,
        further: FurtherMemory | None = None,
        task: np.ndarray | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, bool], int, int]:
        """Build one observation.

        Args:
            glyphs: int16 [H, W], the map as shown.
            blstats: int64 [27], of the living hero.
            message: the message line.
            memory: of the present level; its ground is brought up to date.
            circumstances: what else the observation shows.
            further: of the episode, where there are further actions.
            task: float32 [num_tasks], one-hot, where there are tasks.

        Returns:
            The observation (fresh arrays), the scene flags, the number of nodes cut, and the number of walkable
            tiles seen for the first time.
        """
        graph = Graph.blank(self._max_nodes)
        features = np.zeros(self._num_features, dtype=np.float32)
        crop = np.zeros((CROP_SIZE, CROP_SIZE), dtype=np.uint8)
        mask = np.zeros(self.num_actions, dtype=np.uint8)
        roles = np.empty(len(ROLE_NAMES), dtype=np.float32)
        given = (glyphs, blstats, memory, circumstances, self._path_summary)
        nodes_cut, new_tiles = _build(*given, self._positions, graph, features, crop, mask, self._scene, roles)
        self._node_mask = graph.node_mask
        write_message_cues(message, features)
        observation: dict[str, np.ndarray] = {**graph._asdict(), "features": features, "crop": crop, "roles": roles}
        if further is not None:
            beside = bool(self._scene[MONSTER_ADJACENT])
            remembered = features[-len(self._further.features) :]
            moves = mask[FIRST_MOVE : FIRST_MOVE + NUM_DIRECTIONS]
            further.write(blstats, remembered, mask[NUM_ACTIONS:], moves, monster_adjacent=beside)
            mask[EAT] = 0  # its own two know what to eat
        if self._has_mask:
            if circumstances.prompt != Prompt.NONE:
                mask[:NUM_ACTIONS] = mask_answers(circumstances.prompt, message, memory.locked, *cell_of(blstats))
                mask[NUM_ACTIONS:] = 0
            observation["action_mask"] = mask
        if self._num_tasks and task is not None:
            observation["task"] = task.copy()
            if self._roles_are_tasks:
                observation["roles"] = task.copy()
        scene: dict[str, bool] = dict(zip(SCENE_FLAGS, self._scene.astype(bool).tolist(), strict=True))
        return observation, scene, nodes_cut, new_tiles


def warm_up() -> None:
    """Compile everything and fill the disk cache, without a game: some 20 seconds once, well under one later.

    Call it before several processes start, or each of them compiles.
    """
    builder = ObservationBuilder(max_nodes=2)
    memory = LevelMemory.blank()
    memory.arrive(0, 0, None)
    start = Circumstances(0, 1, 1.0, 0.0, clock_stands=False, prompt=int(Prompt.NONE), last_action=NO_ACTION)
    glyphs: np.ndarray[Any, Any] = np.full(MAP_SHAPE, nethack.GLYPH_CMAP_OFF, dtype=np.int16)
    blstats: np.ndarray[Any, Any] = np.zeros(nethack.BLSTATS_SHAPE, dtype=np.int64)
    builder.build(glyphs, blstats, b"", memory, start)
    CorpseMemory(RANDOM).watch(blstats, glyphs, b"")


@compiled
def _build(
    glyphs: np.ndarray,
    blstats: np.ndarray,
    memory: LevelMemory,
    circumstances: Circumstances,
    path_summary: bool,
    positions: np.ndarray,
    graph: Graph,
    features: np.ndarray,
    crop: np.ndarray,
    mask: np.ndarray,
    scene: np.ndarray,
    roles: np.ndarray,
) -> tuple[int, int]:
    """Everything but the message; see the modules that own the parts. Returns nodes cut and new tiles."""
    y, x = blstats[nethack.NLE_BL_Y], blstats[nethack.NLE_BL_X]
    passable = np.empty(glyphs.shape, dtype=np.uint8)
    new_tiles = learn_map(glyphs, memory, passable)
    paths = search_paths(passable, memory.refused_until, circumstances.now, y, x)
    state = State(glyphs, blstats, memory, paths, circumstances, y, x)
    candidates = np.empty(2 * glyphs.size, dtype=np.int64)
    count = thin(candidates, collect_candidates(state, candidates), glyphs.shape[1])
    nodes_cut = write_graph(state, candidates, count, graph, positions)
    write_features(state, nodes_cut, features)
    if path_summary:
        write_path_summary(graph, features)
    _write_crop(state, crop)
    mask_free_actions(state, mask)
    write_scene(state, graph, scene, roles)
    return nodes_cut, new_tiles


@compiled
def _write_crop(state: State, crop: np.ndarray) -> None:
    """Write the classes of the cells around the hero into `crop` [S, S], zeros; the middle is the ground under foot."""
    glyphs = state.glyphs
    for dy in range(-CROP_RADIUS, CROP_RADIUS + 1):
        for dx in range(-CROP_RADIUS, CROP_RADIUS + 1):
            y, x = state.y + dy, state.x + dx
            if 0 <= y < glyphs.shape[0] and 0 <= x < glyphs.shape[1]:
                crop[dy + CROP_RADIUS, dx + CROP_RADIUS] = g.GLYPH_TABLE[glyphs[y, x], g.CROP_COLUMN]
    crop[CROP_RADIUS, CROP_RADIUS] = g.TERRAIN_CROP[state.memory.terrain[state.y, state.x]]
