"""What a run reads, and how: the flags that the drivers share."""

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

RENDERED = protocol.DEVELOPMENT.replace(whitening_dim=160)
"""What the synthetic dataset is run under where no protocol is named."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run reads, and how: the flags that the drivers share.

    Attributes:
        protocol: every choice that changes a number and is not the method.
        dataset: of images and queries: a folder, a registered benchmark or ``synthetic``.
        whitening_datasets: what the whitening is fitted on, likewise.
        data_dir: where TFDS keeps registered datasets; None: where it does by itself.
        network: of the weights; None: the one that their record names, or without weights the default network.
        weights: FILE, NETWORK:FILE or NETWORK; None: what is found for the network, see `weights.weights_of`.
        feature_layer: whose maps are pooled; None: the network's own.
        dtype: that the network computes in.
        cache: folder for what the network made of each picture.
        batch_size: pictures in one pass; 0: see `extraction.ExtractionConfig`.
        map_dtype: that maps for re-ranking are kept in.
        ray: address of a Ray cluster that makes the passes; None: this process does.
        smoke: whether the run takes only a few pictures.
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
        """The same run with a further network, which `network` and `feature_layer` do not speak of."""
        return dataclasses.replace(self, weights=weights, network=None, feature_layer=None)


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `RunConfig`, with its defaults."""
    protocol_flags.define_flags(values)

    def text(name: str, default: str | None, help_text: str) -> None:
        flags.DEFINE_string(name, default, help_text, flag_values=values)

    text(
        "dataset",
        RunConfig.dataset,
        "A folder in Oxford layout, jpg/ and lab/; a registered benchmark such as oxford5k; or synthetic, rendered "
        "under --cache.",
    )
    flags.DEFINE_list(
        "whitening_dataset",
        list(RunConfig.whitening_datasets),
        "Folders or registered datasets whose pictures, and queries if any, the whitening is fitted on, not those of "
        "--dataset; or synthetic_whitening.",
        flag_values=values,
    )
    text("data_dir", RunConfig.data_dir, "Where TFDS keeps registered datasets; default: TFDS's own.")
    flags.DEFINE_enum(
        "network",
        RunConfig.network,
        sorted(networks.NETWORKS),
        f"CAM network. Default: the one that --weights say they are of; without --weights {DEFAULT_NETWORK}.",
        flag_values=values,
    )
    text(
        "weights",
        None,
        "Its weights, FILE, NETWORK:FILE or NETWORK; see weights/README.md. Default: those that are installed or in "
        "the user's cache (`cwcf weights list`).",
    )
    text("feature_layer", RunConfig.feature_layer, "Layer whose maps are pooled; default: the network's own.")
    flags.DEFINE_enum(
        "dtype",
        RunConfig.dtype,
        encoder.DTYPES,
        "What the network computes in; bfloat16 is for accelerators.",
        flag_values=values,
    )
    text("cache", str(RunConfig.cache), "Folder that keeps what the network made of each picture.")
    flags.DEFINE_integer(
        "batch_size",
        RunConfig.batch_size,
        "Pictures in one pass; 0: 1 on a CPU, elsewhere 16 a device.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "maps",
        RunConfig.map_dtype,
        store.MAP_DTYPES,
        "How maps for re-ranking are kept; int8 takes half the bytes.",
        flag_values=values,
    )
    text(
        "ray",
        RunConfig.ray,
        "A Ray cluster that makes the passes of pictures: auto, HOST:PORT or local; default: this process.",
    )
    flags.DEFINE_bool(
        "smoke", RunConfig.smoke, "The whole driver on a few pictures: does it run here?", flag_values=values
    )


def from_flags(values: FlagValues) -> RunConfig:
    """What the parsed flags of `define_flags` say; the default protocol of the synthetic dataset is `RENDERED`."""
    default = RENDERED if values.dataset in data.SYNTHETIC else protocol.PAPER
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
