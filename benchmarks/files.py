"""From JPEG files to descriptors: what decoding costs beside the encoder, and whether memory stays flat.

python -m benchmarks.files --pictures=../shared/data/oxford_dev/jpg --network=googlenet --count=2000

In turns in one run, over the same pictures: decoding alone; encoding alone, from batches that are in memory; and both
together as an index does it. Then ``--count`` pictures, the folder over and over, with the process's memory on the way.
"""

import functools
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags

import cwcf_jax
from benchmarks import measuring
from cwcf_jax import encoder, networks
from cwcf_jax.encoder import EncoderConfig, Model
from cwcf_jax.extraction import ExtractionConfig, compute_batches, read_pictures
from cwcf_jax.images import Batch, Resize, Unreadable

_PICTURES = flags.DEFINE_string("pictures", None, "A folder of photographs.", required=True)
_NETWORK = flags.DEFINE_string("network", "googlenet", "A CAM network, with random weights.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", encoder.DTYPES, "What the network computes in.")
_RESIZE = flags.DEFINE_string("resize", "none", "As in a protocol: none, min720, max1024, squash1024x720.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Pictures in a pass; 0: 1 on a CPU, elsewhere 16 a device.")
_NC = flags.DEFINE_integer("nc", 64, "N_C.")
_HELD = flags.DEFINE_integer("held", 64, "Pictures of a round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each kind.", lower_bound=1)
_COUNT = flags.DEFINE_integer("count", 2000, "Pictures whose memory is watched; 0: none.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

STEP = 100
"""Pictures between two looks at the memory."""


def main(argv: Sequence[str]) -> None:
    """Measures, prints a summary and keeps the JSON."""
    del argv
    network = networks.get(_NETWORK.value)
    config = EncoderConfig(network.spec.feature_layer, dtype=_DTYPE.value)
    model = encoder.replicate(Model(network.initialize(0), network, config))
    extraction = ExtractionConfig(Resize.parse(_RESIZE.value), batch_size=_BATCH.value)
    files = sorted(path for path in pathlib.Path(_PICTURES.value).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    some = files[:: max(1, len(files) // _HELD.value)][: _HELD.value]
    held = list(_read(some, extraction))
    encode = functools.partial(_encode, model)
    seconds = measuring.take_turns(
        {
            "decoding": lambda: sum(1 for _ in _read(some, extraction)),
            "encoding": lambda: _finish(held, encode),
            "from files": lambda: _finish(_read(some, extraction), encode),
        },
        _ROUNDS.value,
    )
    result = {
        "what": "pictures a second; 'from files' as an index reads and encodes them",
        "network": network.spec.name,
        "dtype": _DTYPE.value,
        "machine": measuring.machine(),
        "pictures": len(some),
        "buckets": len({batch.images.shape for batch in held}),
        "pictures_a_second": {
            name: measuring.spread(len(some) / one for one in taken) for name, taken in seconds.items()
        },
        "from_files_of_encoding": measuring.ratio(seconds["encoding"], seconds["from files"]),
        "memory": _watch(files, extraction, encode),
    }
    measuring.write(result, _OUTPUT.value)


def _encode(model: Model, batch: Batch) -> jax.Array:
    return cwcf_jax.encode(model, batch.images, sizes=batch.sizes, num_classes=_NC.value)


def _read(files: Sequence[pathlib.Path], extraction: ExtractionConfig) -> Iterator[Batch]:
    for batch in read_pictures(files, range(len(files)), extraction):
        if isinstance(batch, Unreadable):
            raise ValueError(batch.reason)
        yield batch


def _finish(batches: Any, encode: Any) -> None:
    for _, found in compute_batches(batches, encode, [], lambda _: None):
        np.asarray(found)


def _watch(files: Sequence[pathlib.Path], extraction: ExtractionConfig, encode: Any) -> list[dict[str, int]]:
    """Bytes of the process after every ``STEP`` pictures, the first of them after every shape was compiled."""
    many = list(itertools.islice(itertools.cycle(files), _COUNT.value))
    found: list[dict[str, int]] = []
    seen = 0

    def count(more: int) -> None:
        nonlocal seen
        seen += more
        if seen // STEP > len(found):
            found.append({"pictures": seen, **measuring.peak_memory()})

    for _, descriptors in compute_batches(_read(many, extraction), encode, [], count):
        np.asarray(descriptors)
    return found


if __name__ == "__main__":
    app.run(main)
