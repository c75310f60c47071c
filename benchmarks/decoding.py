"""This benchmark measures photographs decoded and resized a second, by the library's threads and by Grain's processes.

python -m benchmarks.decoding --pictures=../shared/data/oxford_dev/jpg --resize=squash960x720

Threads and processes read the same pictures in turns; Grain makes no batches. During the turns of the threads Grain's
processes run on until `BUFFER_PICTURES` pictures wait in each. More pictures in a round reduce this advantage.
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
_RESIZE = flags.DEFINE_string("resize", "none", "Resizing as in a protocol: none, min720, max1024, squash1024x720.")
_WORKERS = flags.DEFINE_integer("workers", 0, "Number of Grain's processes; 0 for the library's number of threads.")
_COUNT = flags.DEFINE_integer("count", 480, "Pictures in a round.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Number of rounds.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

BUFFER_PICTURES = 8
"""The largest number of pictures that wait in each of Grain's processes."""


def main(argv: Sequence[str]) -> None:
    """Measures both, and prints and saves the results."""
    del argv
    resize = Resize.parse(_RESIZE.value)
    files = read_folder(_PICTURES.value).paths
    pictures = list(itertools.islice(itertools.cycle(files), _COUNT.value))
    workers = _WORKERS.value or batches.DECODERS
    extraction = ExtractionConfig(resize, batch_size=16)
    grain_pictures = read_by_grain(pictures, resize, workers)
    seconds = measuring.take_turns(
        {
            "threads": lambda: sum(1 for _ in read_pictures(pictures, range(len(pictures)), extraction)),
            "Grain": lambda: sum(1 for _ in itertools.islice(grain_pictures, len(pictures))),
        },
        _ROUNDS.value,
    )
    result = {
        "what": "photographs decoded and resized a second",
        "machine": measuring.describe_machine() | {"grain": grain.__version__},
        "resize": str(resize),
        "workers": workers,
        "pictures": len(pictures),
        "pictures_a_second": {
            name: measuring.spread(len(pictures) / duration for duration in durations)
            for name, durations in seconds.items()
        },
        "threads_of_grain": measuring.ratio(seconds["Grain"], seconds["threads"]),
    }
    measuring.print_and_save(result, _OUTPUT.value)


def read_by_grain(files: Sequence[Picture], resize: Resize, workers: int) -> Iterator[np.ndarray]:
    """Yields the pictures again and again, decoded by processes that keep running."""
    pictures = grain.MapDataset.source(files).repeat().map(functools.partial(_load_picture, resize))
    prefetched = pictures.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=BUFFER_PICTURES))
    return iter(
        prefetched.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=BUFFER_PICTURES)
        )
    )


def _load_picture(resize: Resize, path: Picture) -> np.ndarray:
    """Decodes and resizes a picture."""
    return load_image(path, resize)[0]


if __name__ == "__main__":
    app.run(main)
