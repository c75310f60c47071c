"""This module is the command ``cwcf index``."""

import argparse
import os
import pathlib
import sys
import time
from types import TracebackType

import tqdm

from cwcf_jax.images import Root, find_root
from cwcf_jax.index import Index, IndexConfig, default_folder, make_index_config
from cwcf_jax.index.whitening import MIN_PICTURES


def main(arguments: argparse.Namespace) -> int:
    """Creates the index if there is none, and updates it."""
    root = find_root(arguments.folder)
    if isinstance(root, pathlib.Path) and not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    index_folder = arguments.index.expanduser() if arguments.index else default_folder(root)
    index = _open_or_create(arguments, root, index_folder)
    start = time.monotonic()
    with ProgressBar() as bar:
        ray = arguments.ray
        if arguments.refit or arguments.rebuild:
            index.rebuild(bar, refit=arguments.refit, ray=ray)
        update = index.add(arguments.pictures, bar, ray=ray) if arguments.pictures else index.update(bar, ray=ray)
    seconds = time.monotonic() - start
    for message in update.refused:
        print(f"left out: {message}", file=sys.stderr)
    print(
        f"{update.added} added, {update.changed} changed, {update.moved} moved, {update.removed} removed, "
        f"{update.unchanged} unchanged, {len(update.refused)} unreadable; {seconds:.1f} s"
    )
    status = index.status()
    if status.whitening == "nothing" and status.pictures >= MIN_PICTURES:
        print(f"{status.pictures} pictures are enough for a whitening, which improves results: cwcf index --refit")
    return 1 if update.refused and arguments.strict else 0


def _open_or_create(arguments: argparse.Namespace, root: Root, index_folder: pathlib.Path) -> Index:
    if not (index_folder / "index.json").exists():
        return Index.create(root, _index_config(arguments), folder=index_folder)
    index = Index(index_folder)
    if index.root != (root.resolve() if isinstance(root, pathlib.Path) else root):
        raise ValueError(f"{index_folder} is the index of {index.root}, not of {root}")
    _check_flags(arguments, index.config)
    return index


def _index_config(arguments: argparse.Namespace) -> IndexConfig:
    weights = arguments.weights or ("" if arguments.network else os.environ.get("CWCF_WEIGHTS", ""))
    network, file = _split(weights) if weights else ("", None)
    if network and arguments.network and network != arguments.network:
        raise ValueError(
            f"--weights={weights} are of {network}, --network names {arguments.network}; give one of the two"
        )
    network = network or arguments.network or ""
    fields = {"resize": arguments.resize, "dim": arguments.dim, "num_classes": arguments.nc}
    fields |= {"pooling": arguments.pooling, "table": arguments.table, "store": arguments.store}
    fields |= {"own_classes": arguments.own, "compact": arguments.compact or None}
    choices = {name: value for name, value in fields.items() if value is not None}
    return make_index_config(file, network, **choices)


def _split(weights: str) -> tuple[str, pathlib.Path]:
    network, colon, file = weights.rpartition(":")
    return (network, pathlib.Path(file).expanduser()) if colon else ("", pathlib.Path(weights).expanduser())


def _check_flags(arguments: argparse.Namespace, config: IndexConfig) -> None:
    """Raises ValueError if a flag differs from the index config."""
    dim = arguments.dim or None  # 0 means all dimensions, the index config has their number
    values = {"--resize": (arguments.resize, config.resize), "--dim": (dim, config.dim)}
    values["--pooling"] = arguments.pooling, config.pooling
    values |= {"--nc": (arguments.nc, config.num_classes), "--table": (arguments.table, config.table)}
    values["--store"] = arguments.store, config.store
    values["--compact"] = arguments.compact or None, config.compact or ""
    values["--own"] = arguments.own, config.own_classes
    values["--network"] = arguments.network, config.network
    if arguments.weights:
        values["--weights"] = str(_split(arguments.weights)[1].resolve()), config.weights
    for flag, (requested, stored) in values.items():
        if requested is not None and requested != stored:
            flags = f"with {flag}={stored}" if stored else f"without {flag}"
            raise ValueError(
                f"the index was made {flags}, which cannot be changed; remove its folder to create another index"
            )


class ProgressBar:
    """A `ProgressBar` shows the progress, the rate and the remaining time, if stderr is a terminal."""

    def __init__(self) -> None:
        self._what, self._bar = "", tqdm.tqdm(disable=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Implements `index.Progress`."""
        if what != self._what:
            self._bar.close()
            quiet = not sys.stderr.isatty()
            self._what, self._bar = what, tqdm.tqdm(desc=what, total=total, unit="pic", disable=quiet, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
