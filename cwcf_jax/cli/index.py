"""cwcf index."""

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
    """Makes the index if there is none, and brings it up to date."""
    root = find_root(arguments.folder)
    if isinstance(root, pathlib.Path) and not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    place = arguments.index.expanduser() if arguments.index else default_folder(root)
    index = _opened(arguments, root, place)
    before = time.monotonic()
    with ProgressBar() as bar:
        ray = arguments.ray
        if arguments.refit or arguments.rebuild:
            index.rebuild(bar, refit=arguments.refit, ray=ray)
        found = index.add(arguments.pictures, bar, ray=ray) if arguments.pictures else index.update(bar, ray=ray)
    seconds = time.monotonic() - before
    for reason in found.refused:
        print(f"left out: {reason}", file=sys.stderr)
    print(
        f"{found.added} added, {found.changed} changed, {found.moved} moved, {found.removed} removed, "
        f"{found.unchanged} unchanged, {len(found.refused)} unreadable; {seconds:.1f} s"
    )
    status = index.status()
    if status.whitening == "nothing" and status.pictures >= MIN_PICTURES:
        print(f"{status.pictures} pictures are enough for a whitening, which finds better: cwcf index --refit")
    return 1 if found.refused and arguments.strict else 0


def _opened(arguments: argparse.Namespace, root: Root, place: pathlib.Path) -> Index:
    if not (place / "index.json").exists():
        return Index.create(root, _settings(arguments), folder=place)
    index = Index(place)
    if index.root != (root.resolve() if isinstance(root, pathlib.Path) else root):
        raise ValueError(f"{place} is the index of {index.root}, not of {root}")
    _check_same(arguments, index.settings)
    return index


def _settings(arguments: argparse.Namespace) -> IndexConfig:
    weights = arguments.weights or ("" if arguments.network else os.environ.get("CWCF_WEIGHTS", ""))
    network, file = _split(weights) if weights else ("", None)
    if network and arguments.network and network != arguments.network:
        raise ValueError(f"--weights={weights} are of {network}, --network names {arguments.network}")
    network = network or arguments.network or ""
    chosen = {"resize": arguments.resize, "dim": arguments.dim, "num_classes": arguments.nc}
    chosen |= {"pooling": arguments.pooling, "table": arguments.table, "store": arguments.store}
    chosen |= {"own_classes": arguments.own, "compact": arguments.compact or None}
    given = {name: value for name, value in chosen.items() if value is not None}
    return make_index_config(file, network, **given)


def _split(weights: str) -> tuple[str, pathlib.Path]:
    network, colon, file = weights.rpartition(":")
    return (network, pathlib.Path(file).expanduser()) if colon else ("", pathlib.Path(weights).expanduser())


def _check_same(arguments: argparse.Namespace, settings: IndexConfig) -> None:
    dim = arguments.dim or None  # 0, all: the index holds how many they were
    wanted = {"--resize": (arguments.resize, settings.resize), "--dim": (dim, settings.dim)}
    wanted["--pooling"] = arguments.pooling, settings.pooling
    wanted |= {"--nc": (arguments.nc, settings.num_classes), "--table": (arguments.table, settings.table)}
    wanted["--store"] = arguments.store, settings.store
    wanted["--compact"] = arguments.compact or None, settings.compact or ""
    wanted["--own"] = arguments.own, settings.own_classes
    wanted["--network"] = arguments.network, settings.network
    if arguments.weights:
        wanted["--weights"] = str(_split(arguments.weights)[1].resolve()), settings.weights
    for flag, (asked, held) in wanted.items():
        if asked is not None and asked != held:
            made = f"with {flag}={held}" if held else f"without {flag}"
            raise ValueError(f"the index was made {made}, which cannot be changed; remove its folder to make another")


class ProgressBar:
    """Progress with rate and time left, on a terminal alone."""

    def __init__(self) -> None:
        self._what, self._bar = "", tqdm.tqdm(disable=True)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """See `index.Progress`."""
        if what != self._what:
            self._bar.close()
            quiet = not sys.stderr.isatty()
            self._what, self._bar = what, tqdm.tqdm(desc=what, total=total, unit="pic", disable=quiet, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)
