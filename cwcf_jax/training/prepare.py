"""This module turns a `TrainingConfig` into datasets, classes, a network and its starting parameters (`prepare`)."""

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

CLASSIFIER_STD = 0.01
"""The standard deviation of the kernel of a new classifier, as in VGG and GoogLeNet.

All classes are about equally probable at first.
"""


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """A `TrainingSetup` holds everything that a training starts from.

    Attributes:
        network: the network, with the classes of the training.
        params: parameters that are trained, with their starting values.
        frozen: parameters that are not trained.
        train: training pictures.
        held_out: held-out pictures, or None.
        left_out: for each picture that was left out, its name and the reason.
        facts: facts that identify the data and the weights; see `records.identity`.
    """

    network: Network
    params: Params
    frozen: Params
    train: LabelledImages
    held_out: LabelledImages | None
    left_out: tuple[str, ...]
    facts: dict[str, Any]


def prepare(config: TrainingConfig, network: Network | None = None) -> TrainingSetup:
    """Reads the data and the weights of a training.

    Args:
        config: the settings.
        network: the network to train; None: the registered network ``config.network``.

    Raises:
        ValueError, OSError: a setting or a file cannot be used; the message names the flag or the file.
    """
    network = adapt_network(config, network or networks.get(config.network))
    train, held_out = read_data(config)
    network, train, held_out = match_classes(config, network, train, held_out)
    params, frozen = split_params(network, initial_params(config, network), config.train)
    if not params:
        raise ValueError(f"--train={config.train} leaves nothing of {network.spec.name} to train; give --train=all")
    left_out: tuple[str, ...] = ()
    if config.check:
        train, left_out = check_readable(train, config.workers)
        if held_out is not None:
            held_out, held_out_reasons = check_readable(held_out, config.workers)
            left_out += held_out_reasons
    if len(train) < config.batch_size:
        raise ValueError(f"--batch_size: {config.batch_size} is more than the {len(train)} training pictures; lower it")
    facts = {
        "training pictures": train.fingerprint(),
        "held-out pictures": held_out.fingerprint() if held_out is not None else None,
        "classes": network.spec.num_labels,
        "weights": _weights_fingerprint(config),
        "frozen parameters": params_fingerprint(frozen),
    }
    return TrainingSetup(network, params, frozen, train, held_out, left_out, facts)


def read_data(config: TrainingConfig) -> tuple[LabelledImages, LabelledImages | None]:
    """Returns the training pictures, and the held-out pictures or None, with the labels of their datasets."""
    train = read_labelled(config.dataset, data_dir=config.data_dir or None)
    if config.eval_dataset:
        return train, read_labelled(config.eval_dataset, data_dir=config.data_dir or None)
    return split_by_name(train, config.eval_share) if config.eval_share else (train, None)


def adapt_network(config: TrainingConfig, network: Network) -> Network:
    """Returns the network with the classes of --weights, and with the preprocessing of --weights or --trunk.

    Raises:
        ValueError: the network has no class activation maps.
    """
    spec = network.spec
    if spec.cam_layer is None:
        cam_name = f"{spec.name}_cam"
        hint = (
            f"train {cam_name}, whose trunk is the same"
            if cam_name in networks.NETWORKS
            else "choose a network with a CAM head"
        )
        raise ValueError(f"--network: {spec.name} has no CAM head; {hint}")
    if config.weights:
        network = networks.adapt(network, networks.read_provenance(config.weights))
    weights_file = config.weights or config.trunk
    return network.with_spec(preprocessing=_preprocessing(network, weights_file)) if weights_file else network


def match_classes(
    config: TrainingConfig, network: Network, train: LabelledImages, held_out: LabelledImages | None
) -> tuple[Network, LabelledImages, LabelledImages | None]:
    """Returns the network with the classes of the training, and the datasets with labels that are indices of them.

    Raises:
        DatasetError: labels are out of range, held-out classes are not trained, or there are fewer than two classes.
    """
    own_classes = config.classes == "own" or (config.classes == "auto" and not train.class_names)
    if own_classes:
        names = networks.class_names(network.spec)
    else:
        names = train.class_names or _numbered_names(train)
        if config.weights and names != networks.class_names(network.spec):
            raise DatasetError(
                f"{train.name}: its {len(names)} classes are not the {network.spec.num_labels} of --weights; give the "
                "file as --trunk to train a new classifier"
            )
        network = network.with_spec(num_labels=len(names), class_names=names)
    matched = [
        images if images is None else _relabel(images, network, names, own_classes) for images in (train, held_out)
    ]
    label_counts = matched[0].counts() if matched[0] is not None else {}
    if len(names) < 2 or len(label_counts) == 1:
        raise DatasetError(f"{train.name}: one class only; a classifier needs at least two")
    assert matched[0] is not None
    return network, matched[0], matched[1]


def _numbered_names(images: LabelledImages) -> tuple[str, ...]:
    """Returns names for labels that have only numbers: ``class 0``, ``class 1``, ..."""
    return tuple(f"class {label}" for label in range(max(images.labels) + 1))


def _relabel(images: LabelledImages, network: Network, names: tuple[str, ...], own_classes: bool) -> LabelledImages:
    """Returns the dataset with labels that are indices of ``names``."""
    if not images.class_names:
        out_of_range = [i for i, label in enumerate(images.labels) if label >= len(names)]
        if out_of_range:
            label_text = f"{images.name}: {images.names[out_of_range[0]]} has label {images.labels[out_of_range[0]]}"
            raise DatasetError(f"{label_text}; {network.spec.name} has {len(names)} classes, counted from 0")
        return images
    if images.class_names == names:
        return images
    labels, unknown = {}, []
    for label, name in enumerate(images.class_names):
        try:
            labels[label] = networks.class_index(network.spec, name) if own_classes else names.index(name)
        except ValueError:
            unknown.append(name)
    if unknown:
        unknown_text = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise DatasetError(
            f"{images.name}: some classes are not among the {len(names)} classes of the training: {unknown_text}"
        )
    return images.relabel(names, labels)


def initial_params(config: TrainingConfig, network: Network) -> Params:
    """Returns the parameters at step 0: those of --weights, or new ones, with the trunk of --trunk."""
    if config.weights:
        return networks.load_params(network, config.weights)
    params = network.initialize(config.seed)
    classifier = network.spec.classifier
    if classifier is not None:
        kernel = params[classifier]["kernel"]
        params = params | {classifier: params[classifier] | {"kernel": _rescale(kernel)}}
    if config.trunk:
        params = params | networks.load_params(network, config.trunk, trunk=True)
    return params


def _rescale(kernel: Any) -> Any:
    """Returns the kernel scaled to a standard deviation of `CLASSIFIER_STD`."""
    return kernel * (CLASSIFIER_STD / jnp.maximum(jnp.std(kernel), 1e-12))


def _preprocessing(network: Network, file: str) -> Preprocessing:
    """Returns the preprocessing for the weights in a file: from their provenance record, or else of their layout."""
    record = networks.read_provenance(file)
    if record is not None:
        return record.preprocessing
    path = pathlib.Path(file)
    if not path.is_file():
        return network.spec.preprocessing
    layout = networks.choose_layout(network, networks.read_npz(path))
    return network.spec.preprocessing if layout is None else layout.preprocessing


def _weights_fingerprint(config: TrainingConfig) -> str | None:
    """Returns the fingerprint of the file of --weights or --trunk, or None without either."""
    file = config.weights or config.trunk
    return networks.fingerprint(file) if file else None
