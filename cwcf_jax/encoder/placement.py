"""One model on several devices, each with its share of every batch."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from cwcf_jax.encoder.model import Model

AXIS = "batch"
EVERYWHERE, SHARED_OUT = PartitionSpec(), PartitionSpec(AXIS)  # type: ignore[no-untyped-call]


def replicate(model: Model, mesh: Mesh | None = None) -> Model:
    """Puts a model's weights on every device of a mesh; the batches it encodes from then on are shared out among them.

    Nothing else changes: `encode` and the like take batches as before and return arrays spread over the devices. A
    batch that cannot be shared out evenly is computed on each of them, to the same result.

    Args:
        model: from `load`.
        mesh: one axis, `AXIS`; None: all accelerators of this process, if there are several. Over the devices of
            several processes (`jax.distributed`) each process hands over its own images, as many as the others, and
            finds their results in its own shards.

    Raises:
        ValueError: a mesh of other axes.
    """
    if mesh is None:
        if jax.default_backend() == "cpu" or jax.local_device_count() == 1:
            return model
        mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    if mesh.axis_names != (AXIS,):
        raise ValueError(f"a model is spread over a mesh of one axis, {AXIS!r}, not {mesh.axis_names}")
    return jax.tree.map(lambda leaf: _place(leaf, mesh, EVERYWHERE), model)


def mesh_of(model: Model) -> Mesh | None:
    """What `spread` spread it over; None for a model that is on one device, or placed otherwise."""
    sharding = getattr(jax.tree.leaves(model.params)[0], "sharding", None)
    if not isinstance(sharding, NamedSharding) or sharding.mesh.axis_names != (AXIS,):
        return None
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Puts a pytree of arrays, whose first axis is the images of a batch, onto the devices of a mesh.

    Raises:
        ValueError: several processes, and images that cannot be shared out evenly among a process's devices.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    local = mesh.local_mesh.devices.size
    if count % local and local != mesh.devices.size:
        raise ValueError(f"{count} images cannot be shared out among a process's {local} devices; fill the batch up")
    spec = EVERYWHERE if count % local else SHARED_OUT
    return jax.tree.map(lambda array: _place(array, mesh, spec), batch)


def _place(values: Array | np.ndarray, mesh: Mesh, spec: PartitionSpec) -> Array:
    """The same on every process, or each process's share; what is placed so already stays where it is."""
    sharding = NamedSharding(mesh, spec)
    if isinstance(values, jax.Array) and (
        not values.is_fully_addressable or values.sharding.is_equivalent_to(sharding, values.ndim)
    ):
        return values
    return jax.make_array_from_process_local_data(sharding, np.asarray(values))  # type: ignore[no-untyped-call]
