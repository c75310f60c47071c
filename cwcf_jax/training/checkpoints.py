"""This module writes and restores checkpoints of a training state with Orbax.

A checkpoint is written completely or not at all, and is restored bit for bit.
"""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from cwcf_jax.networks import Params
from cwcf_jax.training.records import ResumeError
from cwcf_jax.training.state import TrainState

MAX_CHECKPOINTS = 2
"""The number of checkpoints that stay on disk, the newest ones."""


class Checkpoints:
    """A `Checkpoints` saves and restores the checkpoints of one training, by step; it is a context manager."""

    def __init__(self, folder: pathlib.Path):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=MAX_CHECKPOINTS, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None if there is no checkpoint."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint to disk; if the process is killed meanwhile, the earlier checkpoints survive."""
        self._manager.save(int(state.step), args=ocp.args.StandardSave(state))

    def restore(self, template: TrainState) -> TrainState:
        """Returns the newest checkpoint, with the shapes, types and placement of ``template``.

        Raises:
            ResumeError: the checkpoint cannot be read.
        """
        step = self.latest()
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(template))
        except Exception as error:  # a damaged file makes Orbax and tensorstore raise errors of many types
            reason = " ".join(str(error).split())[:400]
            path = self._folder / str(step)
            raise ResumeError(f"{path}: cannot be restored ({reason}); remove this folder, and train again") from error


def params_fingerprint(params: Params) -> str:
    """Returns the sha256 over the names, shapes and bytes of all arrays."""
    digest = hashlib.sha256()
    leaves: list[tuple[Any, Any]] = jax.tree_util.tree_flatten_with_path(params)[0]
    for path, leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
