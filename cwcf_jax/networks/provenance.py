"""This module defines the provenance record, which is stored in a checkpoint and describes the parameters' origin."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from cwcf_jax.networks.spec import Network, Preprocessing

RECORD = "provenance.json"
"""The name of the record's file in a checkpoint directory, and of the record's entry in a ``.npz`` file."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """A `Provenance` describes where the parameters of a checkpoint come from and what they expect.

    Attributes:
        network: name of the network in the registry.
        source: file that the parameters were converted from, or training that made them.
        sha256: sha256 of the source file; empty for a training.
        licence: licence of the parameters; empty if unknown.
        preprocessing: preprocessing that the parameters expect.
        num_classes: number of the network's classes.
        class_names: names of the classes, or ``imagenet``.
        layout: name of the source file's weight layout; empty for a training.
        complete: False if the checkpoint has only the layers before the head.
        notes: further facts, such as command, versions, paper and accuracy.
    """

    network: str
    source: str
    sha256: str
    licence: str
    preprocessing: Preprocessing
    num_classes: int = 1000
    class_names: str | tuple[str, ...] = "imagenet"
    layout: str = ""
    complete: bool = True
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the record as readable JSON, which `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Reads a record from JSON; raises ValueError if a field is missing, unknown or of the wrong type."""
        try:
            content = json.loads(text)
        except RecursionError:
            raise ValueError("the provenance record is nested too deeply") from None
        if not isinstance(content, dict):
            raise ValueError("the provenance record is not a JSON object")
        faults = [f"no {name}" for name in _REQUIRED if name not in content]
        faults += [f"unknown {name}" for name in content if name not in _FIELDS]
        faults += [f"{name}: {value!r:.100}" for name, value in content.items() if not _FIELDS.get(name, _any)(value)]
        if faults:
            raise ValueError(f"the provenance record has faults: {'; '.join(faults)}")
        fields = content["preprocessing"]
        preprocessing = Preprocessing(fields["channel_order"], _as_triple(fields["mean"]), _as_triple(fields["scale"]))
        names = content.get("class_names", cls.class_names)
        record = cls(
            **content
            | {"preprocessing": preprocessing, "class_names": names if isinstance(names, str) else tuple(names)}
        )
        name_count = 1000 if isinstance(names, str) else len(names)
        if name_count != record.num_classes:
            raise ValueError(f"the provenance record has {name_count} class names for {record.num_classes} classes")
        return record


def _has_type(expected: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is expected  # not isinstance: True is no int


def _any(value: Any) -> bool:
    del value
    return True


def _are_class_names(value: Any) -> bool:
    return value == "imagenet" or (type(value) is list and value != [] and all(type(name) is str for name in value))


def _is_preprocessing(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"channel_order", "mean", "scale"}
        and value["channel_order"] in ("RGB", "BGR")
        and all(_is_triple(value[name]) for name in ("mean", "scale"))
    )


def _is_triple(values: Any) -> bool:
    return type(values) is list and len(values) == 3 and all(type(v) in (int, float) and abs(v) < 1e9 for v in values)


def _as_triple(values: list[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


_REQUIRED = ("network", "source", "sha256", "licence", "preprocessing")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **{name: _has_type(str) for name in ("network", "source", "sha256", "licence", "layout")},
    "preprocessing": _is_preprocessing,
    "num_classes": _has_type(int),
    "class_names": _are_class_names,
    "complete": _has_type(bool),
    "notes": _has_type(dict),
}


def adapt(network: Network, provenance: Provenance | None) -> Network:
    """Returns the network with the classes and the preprocessing of a checkpoint's record.

    A record of another network raises ValueError.
    """
    if provenance is None:
        return network
    if provenance.network != network.spec.name:
        raise ValueError(f"these are weights of {provenance.network}, not of {network.spec.name}")
    return network.with_spec(
        num_labels=provenance.num_classes,
        class_names=provenance.class_names,
        preprocessing=provenance.preprocessing,
    )
