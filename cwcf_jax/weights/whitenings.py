"""This module reads and writes whitenings as files, each with a record of its network, settings and fitting images.

The whitenings that come with the library are ``fitted/NETWORK.npz`` in this folder, made by
`python -m experiments.fit_whitening`.
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from cwcf_jax import files
from cwcf_jax.descriptors import Whitening
from cwcf_jax.networks import npz

FOLDER = pathlib.Path(__file__).with_name("fitted")

RECORD = "record"
"""The name of the array with the record, as JSON text."""

_ADVICE = "cwcf_jax.weights.whitenings.write makes one"


@dataclasses.dataclass(frozen=True)
class FittingImages:
    """A `FittingImages` describes a set of pictures that a whitening was fitted on.

    Attributes:
        name: name of the set.
        images: number of pictures.
        sha256: sha256 over names and contents of the pictures.
        licence: licence of the pictures.
    """

    name: str
    images: int
    sha256: str
    licence: str


@dataclasses.dataclass(frozen=True)
class WhiteningRecord:
    """A `WhiteningRecord` says for which class vectors a whitening was fitted, and on which pictures.

    Attributes:
        network: name of the network that computed the class vectors.
        params: `networks.fingerprint_params` of the network's parameters; independent of their file.
        weights: sha256 of the file of the weights, for human readers.
        encoder: fields of `encoder.EncoderConfig` that class vectors depend on.
        resize: resizing of the fitting pictures, see `images.Resize`; descriptors of other sizes may use it, too.
        classes: N_pca, number of class vectors of each picture.
        shrinkage: ratio of `fit_shrinkage_whitening`; None: a plain PCA.
        data: sets of fitting pictures.
        versions: versions of this library and of its numerical dependencies.
    """

    network: str
    params: str
    weights: str
    encoder: dict[str, Any]
    resize: str
    classes: int
    shrinkage: float | None
    data: tuple[FittingImages, ...]
    versions: dict[str, str]

    @property
    def fitted_on(self) -> str:
        """Returns the number of pictures and the name of each set, as text."""
        return ", ".join(f"{images.images} pictures of {images.name}" for images in self.data)


def write(path: pathlib.Path, whitening: Whitening, record: WhiteningRecord, *, dtype: str = "float16") -> None:
    """Writes a whitening with its record: the projection in ``dtype``, the other arrays in float32."""
    arrays: dict[str, Any] = {
        "mean": np.asarray(whitening.mean, np.float32),
        "projection": np.asarray(whitening.projection, dtype),
        "eigenvalues": np.asarray(whitening.eigenvalues, np.float32),
        RECORD: np.array(json.dumps(dataclasses.asdict(record))),
    }
    with files.replacing(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)


def read(path: pathlib.Path) -> tuple[Whitening, WhiteningRecord]:
    """Reads a file of `write`; returns the whitening in float32, and its record.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged or not a whitening.
    """
    record = read_record(path)
    try:
        arrays = npz.read_npz(path, skip=(RECORD,))
        mean, projection, eigenvalues = (
            jnp.asarray(arrays[name], jnp.float32) for name in ("mean", "projection", "eigenvalues")
        )
        if projection.shape != (*mean.shape, *eigenvalues.shape) or not (eigenvalues > 0).all():
            raise ValueError("its arrays do not fit one another")
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} holds no whitening ({error}); {_ADVICE}") from error
    return Whitening(mean, projection, eigenvalues, record.fitted_on), record


def read_record(path: pathlib.Path) -> WhiteningRecord:
    """Reads the record in a file of `write`; errors as in `read`."""
    if not path.is_file():
        raise FileNotFoundError(f"no whitening at {path}; {_ADVICE}")
    try:
        content = json.loads(npz.read_string(path, RECORD) or "")
        return WhiteningRecord(**content | {"data": tuple(FittingImages(**entry) for entry in content["data"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no record of a whitening ({error}); {_ADVICE}") from error


def shipped() -> dict[str, pathlib.Path]:
    """Returns the files of the whitenings that come with the library, by name of the network."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.npz"))}
