"""Checkpoints of a training state with Orbax: written whole or not at all, restored bit for bit."""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from cwcf_jax.networks import Params
from cwcf_jax.training.records import ResumeError
from cwcf_jax.training.state import TrainState

KEPT = 2
"""Newest checkpoints that stay on disk."""


class Checkpoints:
    """The checkpoints of one training, by step. A context manager."""

    def __init__(self, folder: pathlib.Path):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the newest; None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """On disk when this returns; a killed process leaves the ones before."""
        self._manager.save(int(state.step), args=ocp.args.StandardSave(state))

    def restore(self, like: TrainState) -> TrainState:
        """The newest, with the shapes, types and placement of ``like``; ResumeError if it cannot be read."""
        step = self.latest()
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:  # Orbax and tensorstore raise whatever a damaged file drives them into
            reason = " ".join(str(error).split())[:400]
            raise ResumeError(f"{self._folder / str(step)}: cannot be restored ({reason}); remove it") from error


def params_fingerprint(params: Params) -> str:
    """sha256 over names, shapes and bytes of arrays."""
    digest = hashlib.sha256()
    leaves: list[tuple[Any, Any]] = jax.tree_util.tree_flatten_with_path(params)[0]
    for path, leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
