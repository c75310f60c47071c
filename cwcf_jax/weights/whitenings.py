"""Whitenings in files, each with a record of what it is for and what it was fitted on, and those that ship.

They lie in ``fitted/NETWORK.npz`` beside this module; `python -m experiments.fit_whitening` makes them.
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
"""Name of the record's entry in a file, JSON."""

_MAKER = "cwcf_jax.weights.whitenings.write makes one"


@dataclasses.dataclass(frozen=True)
class FittingImages:
    """Pictures that a whitening was fitted on: their name, how many, sha256 over names and contents, licence."""

    name: str
    images: int
    sha256: str
    licence: str


@dataclasses.dataclass(frozen=True)
class WhiteningRecord:
    """What a whitening is for, and what it was fitted on.

    Attributes:
        network: whose class vectors.
        params: `networks.fingerprint_params` of its weights, the same whatever file they are read from.
        weights: sha256 of the file that the weights came from, for people.
        encoder: the fields of `encoder.EncoderConfig` that class vectors depend on.
        resize: of every picture, see `images.Resize`. Descriptors of pictures of other sizes may use it, too.
        classes: N_pca, class vectors of each picture.
        shrinkage: the ratio of `fit_shrinkage_whitening`; None: a plain PCA.
        data: the pictures.
        versions: of this library and of what it computes with.
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
        """The pictures in a few words."""
        return ", ".join(f"{one.images} pictures of {one.name}" for one in self.data)


def write(path: pathlib.Path, whitening: Whitening, record: WhiteningRecord, *, dtype: str = "float16") -> None:
    """Writes a whitening with its record; the projection in ``dtype``, the rest in float32."""
    arrays: dict[str, Any] = {
        "mean": np.asarray(whitening.mean, np.float32),
        "projection": np.asarray(whitening.projection, dtype),
        "eigenvalues": np.asarray(whitening.eigenvalues, np.float32),
        RECORD: np.array(json.dumps(dataclasses.asdict(record))),
    }
    with files.replacing(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)


def read(path: pathlib.Path) -> tuple[Whitening, WhiteningRecord]:
    """A whitening that `write` wrote, in float32, and its record.

    Raises:
        FileNotFoundError: there is no such file; ValueError: it is damaged, or something else.
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
        raise ValueError(f"{path} holds no whitening ({error}); {_MAKER}") from error
    return Whitening(mean, projection, eigenvalues, record.fitted_on), record


def read_record(path: pathlib.Path) -> WhiteningRecord:
    """The record of a whitening's file; errors as in `read`."""
    if not path.is_file():
        raise FileNotFoundError(f"no whitening at {path}; {_MAKER}")
    try:
        content = json.loads(npz.read_string(path, RECORD) or "")
        return WhiteningRecord(**content | {"data": tuple(FittingImages(**one) for one in content["data"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds no record of a whitening ({error}); {_MAKER}") from error


def shipped() -> dict[str, pathlib.Path]:
    """The files that come with the library, by network."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.npz"))}
