"""This benchmark measures the way from JPEG files to descriptors: decoding, encoding, both, and memory over time.

python -m benchmarks.files --pictures=../shared/data/oxford_dev/jpg --network=googlenet --count=2000

Three tasks take turns over the same pictures: decoding alone; encoding alone, from batches in memory; and both, as in
an index. Then ``--count`` pictures are encoded, the folder again and again, while the memory is measured.
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

_PICTURES = flags.DEFINE_string("pictures", None, "Folder of photographs.", required=True)
_NETWORK = flags.DEFINE_string("network", "googlenet", "Name of a CAM network; its weights are random.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", encoder.DTYPES, "Number format of the network's computation.")
_RESIZE = flags.DEFINE_string("resize", "none", "Resizing as in a protocol: none, min720, max1024, squash1024x720.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Pictures in a pass; 0 chooses 1 on a CPU and 16 for each other device.")
_NC = flags.DEFINE_integer("nc", 64, "N_C.")
_ROUND_PICTURES = flags.DEFINE_integer("held", 64, "Pictures in a round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of rounds.", lower_bound=1)
_COUNT = flags.DEFINE_integer("count", 2000, "Pictures that are encoded while memory is measured; 0 for none.")
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

MEMORY_STEP_PICTURES = 100
"""Number of pictures between two measurements of the memory."""


def main(argv: Sequence[str]) -> None:
    """Measures speed and memory, and prints and saves the results."""
    del argv
    network = networks.get(_NETWORK.value)
    config = EncoderConfig(network.spec.feature_layer, dtype=_DTYPE.value)
    model = encoder.replicate(Model(network.initialize(0), network, config))
    extraction = ExtractionConfig(Resize.parse(_RESIZE.value), batch_size=_BATCH.value)
    files = sorted(path for path in pathlib.Path(_PICTURES.value).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    round_files = files[:: max(1, len(files) // _ROUND_PICTURES.value)][: _ROUND_PICTURES.value]
    batches = list(_read_batches(round_files, extraction))
    encode = functools.partial(_encode, model)
    seconds = measuring.take_turns(
        {
            "decoding": lambda: sum(1 for _ in _read_batches(round_files, extraction)),
            "encoding": lambda: _encode_all(batches, encode),
            "from files": lambda: _encode_all(_read_batches(round_files, extraction), encode),
        },
        _ROUNDS.value,
    )
    result = {
        "what": "pictures a second; 'from files' as an index reads and encodes them",
        "network": network.spec.name,
        "dtype": _DTYPE.value,
        "machine": measuring.describe_machine(),
        "pictures": len(round_files),
        "buckets": len({batch.images.shape for batch in batches}),
        "pictures_a_second": {
            name: measuring.spread(len(round_files) / duration for duration in durations)
            for name, durations in seconds.items()
        },
        "from_files_of_encoding": measuring.ratio(seconds["encoding"], seconds["from files"]),
        "memory": _measure_memory(files, extraction, encode),
    }
    measuring.print_and_save(result, _OUTPUT.value)


def _encode(model: Model, batch: Batch) -> jax.Array:
    """Computes the descriptors of a batch."""
    return cwcf_jax.encode(model, batch.images, sizes=batch.sizes, num_classes=_NC.value)


def _read_batches(files: Sequence[pathlib.Path], extraction: ExtractionConfig) -> Iterator[Batch]:
    """Yields the batches of some files.

    Raises:
        ValueError: A file cannot be read.
    """
    for batch in read_pictures(files, range(len(files)), extraction):
        if isinstance(batch, Unreadable):
            raise ValueError(batch.reason)
        yield batch


def _encode_all(batches: Any, encode: Any) -> None:
    """Encodes all batches and waits for the descriptors."""
    for _, descriptors in compute_batches(batches, encode, [], lambda _: None):
        np.asarray(descriptors)


def _measure_memory(files: Sequence[pathlib.Path], extraction: ExtractionConfig, encode: Any) -> list[dict[str, int]]:
    """Measures the memory of the process after every `MEMORY_STEP_PICTURES` encoded pictures."""
    repeated_files = list(itertools.islice(itertools.cycle(files), _COUNT.value))
    measurements: list[dict[str, int]] = []
    num_pictures = 0

    def count_pictures(num_finished: int) -> None:
        nonlocal num_pictures
        num_pictures += num_finished
        if num_pictures // MEMORY_STEP_PICTURES > len(measurements):
            measurements.append({"pictures": num_pictures, **measuring.peak_memory()})

    for _, descriptors in compute_batches(_read_batches(repeated_files, extraction), encode, [], count_pictures):
        np.asarray(descriptors)
    return measurements


if __name__ == "__main__":
    app.run(main)
