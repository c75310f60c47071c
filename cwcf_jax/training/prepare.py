"""From a configuration to what is trained on what: datasets, classes, network, starting parameters."""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp

from cwcf_jax import networks
from cwcf_jax.datasets.labelled import LabelledImages, check_readable, read_labelled, split_by_name
from cwcf_jax.images.imagesets import DatasetError
from cwcf_jax.networks import Network, Params, Preprocessing
from cwcf_jax.training.checkpoints import params_fingerprint
from cwcf_jax.training.config import TrainingConfig
from cwcf_jax.training.state import split_params

CLASSIFIER_DEVIATION = 0.01
"""Of a new classifier's kernel: VGG's and GoogLeNet's own. All classes begin about equally probable."""


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """Everything a training starts from.

    Attributes:
        network: with the dataset's classes.
        params: what is trained, as it starts.
        frozen: what is not.
        train: training pictures.
        held: held-out pictures; None: there are none.
        left_out: why pictures were left out.
        facts: what identifies data and weights; see `records.identity`.
    """

    network: Network
    params: Params
    frozen: Params
    train: LabelledImages
    held: LabelledImages | None
    left_out: tuple[str, ...]
    facts: dict[str, Any]


def prepare(config: TrainingConfig, network: Network | None = None) -> TrainingSetup:
    """Reads data and weights.

    Args:
        config: the settings.
        network: one of your own instead of the registry's ``config.network``.

    Raises:
        ValueError, OSError: whatever cannot be used; the message names flag or file.
    """
    network = adapt_network(config, network or networks.get(config.network))
    train, held = read_data(config)
    network, train, held = match_classes(config, network, train, held)
    params, frozen = split_params(network, initial_params(config, network), config.train)
    if not params:
        raise ValueError(f"--train={config.train} leaves nothing of {network.spec.name} to train")
    left_out: tuple[str, ...] = ()
    if config.check:
        train, left_out = check_readable(train, config.workers)
        if held is not None:
            held, more = check_readable(held, config.workers)
            left_out += more
    if len(train) < config.batch_size:
        raise ValueError(f"--batch_size: {config.batch_size} is more than the {len(train)} training pictures")
    facts = {
        "training pictures": train.fingerprint(),
        "held-out pictures": held.fingerprint() if held is not None else None,
        "classes": network.spec.num_labels,
        "weights": _weights_fingerprint(config),
        "frozen parameters": params_fingerprint(frozen),
    }
    return TrainingSetup(network, params, frozen, train, held, left_out, facts)


def read_data(config: TrainingConfig) -> tuple[LabelledImages, LabelledImages | None]:
    """Training and held-out pictures, with their own labels."""
    train = read_labelled(config.dataset, data_dir=config.data_dir or None)
    if config.eval_dataset:
        return train, read_labelled(config.eval_dataset, data_dir=config.data_dir or None)
    return split_by_name(train, config.eval_share) if config.eval_share else (train, None)


def adapt_network(config: TrainingConfig, network: Network) -> Network:
    """The network with the classes of --weights, and with the preprocessing of whichever weights it starts from.

    ValueError for a network without class activation maps.
    """
    spec = network.spec
    if spec.cam_layer is None:
        fitting = f"{spec.name}_cam"
        hint = (
            f"train {fitting}, whose trunk is the same" if fitting in networks.NETWORKS else "it cannot be trained here"
        )
        raise ValueError(f"--network: {spec.name} has no CAM head; {hint}")
    if config.weights:
        network = networks.adapt(network, networks.read_provenance(config.weights))
    file = config.weights or config.trunk
    return network.with_spec(preprocessing=_preprocessing(network, file)) if file else network


def match_classes(
    config: TrainingConfig, network: Network, train: LabelledImages, held: LabelledImages | None
) -> tuple[Network, LabelledImages, LabelledImages | None]:
    """The network with as many classes as there are, and labels that are indices of them.

    Raises:
        DatasetError: labels out of range, held-out classes that are not trained, fewer than two classes.
    """
    own = config.classes == "own" or (config.classes == "auto" and not train.class_names)
    if own:
        names = networks.class_names(network.spec)
    else:
        names = train.class_names or _numbered(train)
        if config.weights and names != networks.class_names(network.spec):
            raise DatasetError(
                f"{train.name}: its {len(names)} classes are not the {network.spec.num_labels} of --weights; give the "
                "file as --trunk to train a new classifier"
            )
        network = network.with_spec(num_labels=len(names), class_names=names)
    matched = [data if data is None else _relabelled(data, network, names, own) for data in (train, held)]
    present = matched[0].counts() if matched[0] is not None else {}
    if len(names) < 2 or len(present) == 1:
        raise DatasetError(f"{train.name}: one class only; a classifier needs at least two")
    assert matched[0] is not None
    return network, matched[0], matched[1]


def _numbered(images: LabelledImages) -> tuple[str, ...]:
    """Names for labels that are only numbers."""
    return tuple(f"class {label}" for label in range(max(images.labels) + 1))


def _relabelled(images: LabelledImages, network: Network, names: tuple[str, ...], own: bool) -> LabelledImages:
    """Labels as indices of ``names``."""
    if not images.class_names:
        beyond = [i for i, label in enumerate(images.labels) if label >= len(names)]
        if beyond:
            where = f"{images.name}: {images.names[beyond[0]]} has label {images.labels[beyond[0]]}"
            raise DatasetError(f"{where}; {network.spec.name} has {len(names)} classes, counted from 0")
        return images
    if images.class_names == names:
        return images
    labels, unknown = {}, []
    for label, name in enumerate(images.class_names):
        try:
            labels[label] = networks.class_index(network.spec, name) if own else names.index(name)
        except ValueError:
            unknown.append(name)
    if unknown:
        listed = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise DatasetError(f"{images.name}: not among the {len(names)} classes of the training: {listed}")
    return images.relabel(names, labels)


def initial_params(config: TrainingConfig, network: Network) -> Params:
    """Parameters at step 0: from --weights, or new ones under the trunk of --trunk."""
    if config.weights:
        return networks.load_params(network, config.weights)
    params = network.initialize(config.seed)
    classifier = network.spec.classifier
    if classifier is not None:
        kernel = params[classifier]["kernel"]
        params = params | {classifier: params[classifier] | {"kernel": _rescaled(kernel)}}
    if config.trunk:
        params = params | networks.load_params(network, config.trunk, trunk=True)
    return params


def _rescaled(kernel: Any) -> Any:
    return kernel * (CLASSIFIER_DEVIATION / jnp.maximum(jnp.std(kernel), 1e-12))


def _preprocessing(network: Network, file: str) -> Preprocessing:
    """What the weights in a file expect: as its record says, else as their layout does."""
    record = networks.read_provenance(file)
    if record is not None:
        return record.preprocessing
    path = pathlib.Path(file)
    if not path.is_file():
        return network.spec.preprocessing
    layout = networks.choose_layout(network, networks.read_npz(path))
    return network.spec.preprocessing if layout is None else layout.preprocessing


def _weights_fingerprint(config: TrainingConfig) -> str | None:
    file = config.weights or config.trunk
    return networks.fingerprint(file) if file else None
