"""This module puts a model on several devices, and divides each batch among the devices."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from cwcf_jax.encoder.model import Model

AXIS = "batch"
"""The name of the mesh's only axis."""

REPLICATED, SHARDED = PartitionSpec(), PartitionSpec(AXIS)  # type: ignore[no-untyped-call]


def replicate(model: Model, mesh: Mesh | None = None) -> Model:
    """Copies a model's parameters to every device of a mesh; each batch of the new model is divided among the devices.

    `encode` and the other passes accept the same arguments as before, and return arrays that are sharded over the
    devices. Each device computes the whole of a batch that cannot be divided evenly; the results are the same.

    Args:
        model: a model from `load`.
        mesh: a mesh with one axis, `AXIS`; None: all accelerators of this process, if there are several. On a mesh of
            several processes (`jax.distributed`), each process passes its own images to `encode`, the same number in
            all processes. The results are in the shards of the same process.

    Raises:
        ValueError: the mesh has other axes.
    """
    if mesh is None:
        if jax.default_backend() == "cpu" or jax.local_device_count() == 1:
            return model
        mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    if mesh.axis_names != (AXIS,):
        raise ValueError(f"a model needs a mesh of one axis, {AXIS!r}, not {mesh.axis_names}")
    return jax.tree.map(lambda leaf: _place(leaf, mesh, REPLICATED), model)


def mesh_of(model: Model) -> Mesh | None:
    """Returns the mesh of a model from `replicate`; None for a model on one device or with another sharding."""
    sharding = getattr(jax.tree.leaves(model.params)[0], "sharding", None)
    if not isinstance(sharding, NamedSharding) or sharding.mesh.axis_names != (AXIS,):
        return None
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Divides a pytree of arrays among the devices of a mesh along the arrays' first axis, the images of a batch.

    Raises:
        ValueError: a mesh of several processes, and a number of images that is no multiple of a process's devices.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    local = mesh.local_mesh.devices.size
    if count % local and local != mesh.devices.size:
        raise ValueError(
            f"{count} images cannot be divided among a process's {local} devices; pad the batch with images"
        )
    spec = REPLICATED if count % local else SHARDED
    return jax.tree.map(lambda array: _place(array, mesh, spec), batch)


def _place(values: Array | np.ndarray, mesh: Mesh, spec: PartitionSpec) -> Array:
    """Moves an array, or this process's share of an array, to the mesh; an array with that sharding is not moved."""
    sharding = NamedSharding(mesh, spec)
    if isinstance(values, jax.Array) and (
        not values.is_fully_addressable or values.sharding.is_equivalent_to(sharding, values.ndim)
    ):
        return values
    return jax.make_array_from_process_local_data(sharding, np.asarray(values))  # type: ignore[no-untyped-call]
