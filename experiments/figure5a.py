"""Figure 5a: the classes most often among the 64 most probable ones of a set's queries, and the list they make.

    python -m experiments.figure5a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

Counted over the queries of --whitening_dataset, or its pictures where it has none: the list that Figure 5b and
--aggregation=predefined use.
"""

import contextlib
import pathlib

import numpy as np
from absl import flags
from absl.flags import FlagValues

from cwcf_jax import networks
from cwcf_jax.evaluation import benchmark
from experiments import driver, inputs, published, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    text = "How many classes of each query count, and how long the list is."
    flags.DEFINE_integer("top", 64, text, lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The list, its counts and, where the paper knows better, a check."""
    given = inputs.prepare(stack, run_flags.from_flags(values))
    spec = given.model.network.spec
    top = min(values.top, spec.num_labels)
    votes, voters = benchmark.class_votes(given.whitening, top=top)
    chosen = benchmark.most_voted(votes, top)
    names = networks.class_names(spec)
    lines: list[list[tables.Cell]] = [
        [place, int(i), names[i], int(votes[i]), f"{votes[i] / voters:.3f}"] for place, i in enumerate(chosen, start=1)
    ]
    what = "queries" if all(one.queries is not None for one in given.whitening) else "pictures"
    columns = ["place", "class", "name", f"of {voters} {what}", "share"]
    return Outcome(
        title=driver.heading(given, "Figure 5a, for use"),
        conditions=driver.conditions(given),
        tables=[tables.Table(f"Classes most often in the top {top}", columns, lines)],
        pictures=plot([names[i] for i in chosen], votes[chosen].tolist(), voters, chosen, given, folder),
        notes=check(given, chosen, votes[chosen]),
        more={"classes": chosen.tolist(), "counts": votes[chosen].tolist(), "of": voters},
        left_out=given.left_out,
    )


def check(given: Inputs, chosen: np.ndarray, counts: np.ndarray) -> list[str]:
    """How much of what the paper names of its list is in ours; nothing for other classes."""
    if given.model.network.spec.class_names != "imagenet":
        return ["The paper's list is of ImageNet's classes; this network knows others."]
    found = [i for i in published.PREDEFINED_CLASSES if i in chosen]
    notes = [f"{len(found)} of the 16 classes that the paper names are among these {len(chosen)}."]
    if [source.images.name for source in given.sources[1:]] == ["paris6k"]:
        same = len(published.APPEARANCES) == len(counts)
        off = float(np.abs(np.sort(counts)[::-1] - published.APPEARANCES).max()) if same else float("nan")
        notes.append(f"Largest difference of a count from the published bars: {off:g} of {published.QUERIES}.")
    return notes


def plot(
    names: list[str], counts: list[int], total: int, chosen: np.ndarray, given: Inputs, folder: pathlib.Path
) -> list[Picture]:
    """classes.png."""
    from experiments import drawing

    imagenet = given.model.network.spec.class_names == "imagenet"
    known = [names[i] for i, c in enumerate(chosen) if imagenet and int(c) in published.PREDEFINED_CLASSES]
    drawing.class_ratio(folder / "classes.png", names, counts, total, known=known)
    return [Picture("classes.png", "Share of queries whose most probable classes hold each class.")]


PROGRAM = driver.program("figure5a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
