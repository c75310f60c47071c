"""Where a checkpoint comes from: a record that travels with the weights."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from cwcf_jax.networks.spec import Network, Preprocessing

RECORD = "provenance.json"
"""Name of the record's file in a checkpoint directory, and of its entry in a ``.npz`` file."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a checkpoint says of itself.

    Attributes:
        network: name in the registry.
        source: file or training it was made from.
        sha256: of that file; empty for a training.
        licence: of the weights, as far as known.
        preprocessing: what the weights expect.
        num_classes: of the classifier.
        class_names: the names of its classes, or ``imagenet``.
        layout: whose names and shapes the source had.
        complete: False where only the trunk is there.
        notes: whatever else is worth knowing: command, versions, paper, figures.
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
        """Readable; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """ValueError where a field is missing, unknown or of the wrong kind."""
        try:
            content = json.loads(text)
        except RecursionError:
            raise ValueError("a provenance record is not nested so deeply") from None
        if not isinstance(content, dict):
            raise ValueError("a provenance record is a JSON object")
        faults = [f"no {name}" for name in _REQUIRED if name not in content]
        faults += [f"unknown {name}" for name in content if name not in _FIELDS]
        faults += [f"{name}: {value!r:.100}" for name, value in content.items() if not _FIELDS.get(name, _any)(value)]
        if faults:
            raise ValueError(f"a provenance record with faults: {'; '.join(faults)}")
        given = content["preprocessing"]
        preprocessing = Preprocessing(given["channel_order"], _three(given["mean"]), _three(given["scale"]))
        names = content.get("class_names", cls.class_names)
        record = cls(
            **content
            | {"preprocessing": preprocessing, "class_names": names if isinstance(names, str) else tuple(names)}
        )
        named = 1000 if isinstance(names, str) else len(names)
        if named != record.num_classes:
            raise ValueError(f"a provenance record with names of {named} classes, and {record.num_classes} classes")
        return record


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind  # True is no number


def _any(value: Any) -> bool:
    del value
    return True


def _names(value: Any) -> bool:
    return value == "imagenet" or (type(value) is list and value != [] and all(type(name) is str for name in value))


def _is_preprocessing(value: Any) -> bool:
    return (
        type(value) is dict
        and value.keys() == {"channel_order", "mean", "scale"}
        and value["channel_order"] in ("RGB", "BGR")
        and all(_is_three(value[name]) for name in ("mean", "scale"))
    )


def _is_three(values: Any) -> bool:
    return type(values) is list and len(values) == 3 and all(type(v) in (int, float) and abs(v) < 1e9 for v in values)


def _three(values: list[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


_REQUIRED = ("network", "source", "sha256", "licence", "preprocessing")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **{name: _is(str) for name in ("network", "source", "sha256", "licence", "layout")},
    "preprocessing": _is_preprocessing,
    "num_classes": _is(int),
    "class_names": _names,
    "complete": _is(bool),
    "notes": _is(dict),
}


def adapt(network: Network, provenance: Provenance | None) -> Network:
    """The network as a checkpoint's record describes it: classes and preprocessing.

    ValueError if the record is another network's.
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
