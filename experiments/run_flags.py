"""This module defines the flags that all drivers share: what a run reads, and how."""

import dataclasses
import pathlib

from absl import flags
from absl.flags import FlagValues

from cwcf_jax import encoder, networks, store
from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.protocol import ProtocolConfig
from cwcf_jax.weights.installed import DEFAULT_NETWORK
from experiments import data, protocol_flags

flags.disclaim_key_flags()

SYNTHETIC_PROTOCOL = protocol.DEVELOPMENT.replace(whitening_dim=160)
"""The default protocol of the synthetic dataset."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A `RunConfig` says what a run reads, and how; every driver has its flags.

    Attributes:
        protocol: every choice that changes a number and is not the method.
        dataset: images and queries: a folder, a registered benchmark or ``synthetic``.
        whitening_datasets: folders or registered datasets that whitenings are fitted on, or ``synthetic_whitening``.
        data_dir: folder of TFDS's datasets; None: TFDS's own folder.
        network: name of the network; None: the network in the weights' record, or without weights the default network.
        weights: FILE, NETWORK:FILE or NETWORK; None: installed or cached weights, see `weights.weights_of`.
        feature_layer: layer whose maps are pooled; None: the network's own feature layer.
        dtype: type that the network computes in.
        cache: folder for the stores of network passes.
        batch_size: number of pictures in one pass; 0: see `extraction.ExtractionConfig`.
        map_dtype: type of stored maps for re-ranking.
        ray: address of a Ray cluster that runs the passes; None: this process runs them.
        smoke: whether the run uses only a few pictures.
    """

    protocol: ProtocolConfig
    dataset: str = "synthetic"
    whitening_datasets: tuple[str, ...] = ("synthetic_whitening",)
    data_dir: str | None = None
    network: str | None = None
    weights: str | None = None
    feature_layer: str | None = None
    dtype: str = "float32"
    cache: pathlib.Path = pathlib.Path("results/cache")
    batch_size: int = 0
    map_dtype: str = "float16"
    ray: str | None = None
    smoke: bool = False

    def of_weights(self, weights: str) -> "RunConfig":
        """Returns the same run with the weights of a further network, whose feature layer is the default one."""
        return dataclasses.replace(self, weights=weights, network=None, feature_layer=None)


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `RunConfig`, with its defaults."""
    protocol_flags.define_flags(values)

    def define_string(name: str, default: str | None, help_text: str) -> None:
        flags.DEFINE_string(name, default, help_text, flag_values=values)

    define_string(
        "dataset",
        RunConfig.dataset,
        "Images and queries: a folder in Oxford layout, with jpg/ and lab/; a registered benchmark such as oxford5k; "
        "or synthetic, which is rendered under --cache.",
    )
    flags.DEFINE_list(
        "whitening_dataset",
        list(RunConfig.whitening_datasets),
        "Folders or registered datasets, other than --dataset, that the whitening is fitted on: on all images, and on "
        "queries if there are any; or synthetic_whitening.",
        flag_values=values,
    )
    define_string("data_dir", RunConfig.data_dir, "Folder of TFDS's datasets; default: TFDS's own folder.")
    flags.DEFINE_enum(
        "network",
        RunConfig.network,
        sorted(networks.NETWORKS),
        f"CAM network. Default: the network in the record of --weights; without --weights {DEFAULT_NETWORK}.",
        flag_values=values,
    )
    define_string(
        "weights",
        None,
        "Weights of the network: FILE, NETWORK:FILE or NETWORK; see weights/README.md. Default: weights that are "
        "installed or in the user's cache (`cwcf weights list`).",
    )
    define_string(
        "feature_layer",
        RunConfig.feature_layer,
        "Layer whose maps are pooled; default: the network's own feature layer.",
    )
    flags.DEFINE_enum(
        "dtype",
        RunConfig.dtype,
        encoder.DTYPES,
        "Type that the network computes in; bfloat16 is for accelerators.",
        flag_values=values,
    )
    define_string("cache", str(RunConfig.cache), "Folder for the results of network passes, which later runs reuse.")
    flags.DEFINE_integer(
        "batch_size",
        RunConfig.batch_size,
        "Number of pictures in one pass; 0: 1 on a CPU, and 16 for each other device.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "maps",
        RunConfig.map_dtype,
        store.MAP_DTYPES,
        "Type of stored maps for re-ranking; int8 takes half the bytes of float16.",
        flag_values=values,
    )
    define_string(
        "ray",
        RunConfig.ray,
        "Ray cluster that runs the network passes: auto, HOST:PORT or local; default: this process runs them.",
    )
    flags.DEFINE_bool(
        "smoke", RunConfig.smoke, "Run the whole driver on a few pictures, to check that it works.", flag_values=values
    )


def from_flags(values: FlagValues) -> RunConfig:
    """Returns the settings of the parsed flags; the default protocol of a synthetic dataset is `SYNTHETIC_PROTOCOL`."""
    default = SYNTHETIC_PROTOCOL if values.dataset in data.SYNTHETIC else protocol.PAPER
    return RunConfig(
        protocol=protocol_flags.chosen(values, default=default),
        dataset=values.dataset,
        whitening_datasets=tuple(values.whitening_dataset),
        data_dir=values.data_dir,
        network=values.network,
        weights=values.weights,
        feature_layer=values.feature_layer,
        dtype=values.dtype,
        cache=pathlib.Path(values.cache),
        batch_size=values.batch_size,
        map_dtype=values.maps,
        ray=values.ray,
        smoke=values.smoke,
    )
