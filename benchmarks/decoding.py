"""Photographs decoded and resized a second: the library's threads, and Grain's worker processes.

python -m benchmarks.decoding --pictures=../shared/data/oxford_dev/jpg --resize=squash960x720

In turns, the same pictures, not put into batches by Grain. Its processes stay, and go on while the threads have their
turn until `BUFFERED` pictures wait: the more pictures a round has, the less that helps.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

import grain  # type: ignore[import-untyped]
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.extraction import ExtractionConfig, read_pictures
from cwcf_jax.images import Picture, Resize, batches, load_image, read_folder

_PICTURES = flags.DEFINE_string("pictures", None, "A folder of photographs.", required=True)
_RESIZE = flags.DEFINE_string("resize", "none", "As in a protocol: none, min720, max1024, squash1024x720.")
_WORKERS = flags.DEFINE_integer("workers", 0, "Grain's processes; 0: as many as the library has threads.")
_COUNT = flags.DEFINE_integer("count", 480, "Pictures of a round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

BUFFERED = 8
"""Pictures that wait in each of Grain's processes."""


def main(argv: Sequence[str]) -> None:
    """Measures, prints a summary and keeps the JSON."""
    del argv
    resize = Resize.parse(_RESIZE.value)
    files = read_folder(_PICTURES.value).paths
    some = list(itertools.islice(itertools.cycle(files), _COUNT.value))
    workers = _WORKERS.value or batches.DECODERS
    extraction = ExtractionConfig(resize, batch_size=16)
    stream = by_grain(some, resize, workers)
    seconds = measuring.take_turns(
        {
            "threads": lambda: sum(1 for _ in read_pictures(some, range(len(some)), extraction)),
            "Grain": lambda: sum(1 for _ in itertools.islice(stream, len(some))),
        },
        _ROUNDS.value,
    )
    result = {
        "what": "photographs decoded and resized a second",
        "machine": measuring.machine() | {"grain": grain.__version__},
        "resize": str(resize),
        "workers": workers,
        "pictures": len(some),
        "pictures_a_second": {
            name: measuring.spread(len(some) / one for one in taken) for name, taken in seconds.items()
        },
        "threads_of_grain": measuring.ratio(seconds["Grain"], seconds["threads"]),
    }
    measuring.write(result, _OUTPUT.value)


def by_grain(files: Sequence[Picture], resize: Resize, workers: int) -> Iterator[np.ndarray]:
    """The pictures over and over, from processes that stay."""
    pictures = grain.MapDataset.source(files).repeat().map(functools.partial(_picture, resize))
    ahead = pictures.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=BUFFERED))
    return iter(ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=BUFFERED)))


def _picture(resize: Resize, path: Picture) -> np.ndarray:
    return load_image(path, resize)[0]


if __name__ == "__main__":
    app.run(main)
