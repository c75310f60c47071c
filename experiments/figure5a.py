"""This driver draws Figure 5a: the classes that are most often among the most probable ones of a dataset's queries.

    python -m experiments.figure5a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

Classes are counted over the queries of --whitening_dataset, or over its images if it has no queries. The resulting list
of predefined classes is the one that Figure 5b and --aggregation=predefined use.
"""

import contextlib
import pathlib

import numpy as np
from absl import flags
from absl.flags import FlagValues

from cwcf_jax import networks
from cwcf_jax.evaluation import benchmark
from experiments import driver, published, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs, prepare


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    text = "Number of most probable classes that are counted for each query, and length of the list."
    flags.DEFINE_integer("top", 64, text, lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Counts the classes, and compares the counts with the paper's if the dataset is the paper's."""
    inputs = prepare(stack, run_flags.from_flags(values))
    spec = inputs.model.network.spec
    top = min(values.top, spec.num_labels)
    votes, voters = benchmark.class_votes(inputs.whitening, top=top)
    listed = benchmark.most_voted(votes, top)
    names = networks.class_names(spec)
    lines: list[list[tables.Cell]] = [
        [rank, int(i), names[i], int(votes[i]), f"{votes[i] / voters:.3f}"] for rank, i in enumerate(listed, start=1)
    ]
    voter_kind = "queries" if all(rows.queries is not None for rows in inputs.whitening) else "pictures"
    columns = ["rank", "class", "name", f"of {voters} {voter_kind}", "share"]
    return Outcome(
        title=driver.heading(inputs, "Figure 5a, predefined classes"),
        conditions=driver.conditions(inputs),
        tables=[tables.Table(f"Classes that are most often among the {top} most probable ones", columns, lines)],
        pictures=plot([names[i] for i in listed], votes[listed].tolist(), voters, listed, inputs, folder),
        notes=check(inputs, listed, votes[listed]),
        extra={"classes": listed.tolist(), "counts": votes[listed].tolist(), "of": voters},
        left_out=inputs.left_out,
    )


def check(inputs: Inputs, listed: np.ndarray, counts: np.ndarray) -> list[str]:
    """Returns notes that compare the list with the classes and counts that the paper names."""
    if inputs.model.network.spec.class_names != "imagenet":
        return ["The paper's list has ImageNet's classes; the classes of this network are others."]
    common = [i for i in published.PREDEFINED_CLASSES if i in listed]
    notes = [f"{len(common)} of the 16 classes that the paper names are among these {len(listed)}."]
    if [source.images.name for source in inputs.sources[1:]] == ["paris6k"]:
        comparable = len(published.APPEARANCES) == len(counts)
        difference = float(np.abs(np.sort(counts)[::-1] - published.APPEARANCES).max()) if comparable else float("nan")
        notes.append(f"The counts differ from the published bars by at most {difference:g} of {published.QUERIES}.")
    return notes


def plot(
    names: list[str], counts: list[int], total: int, listed: np.ndarray, inputs: Inputs, folder: pathlib.Path
) -> list[Picture]:
    """Draws classes.png."""
    from experiments import drawing

    imagenet = inputs.model.network.spec.class_names == "imagenet"
    known = [names[i] for i, label in enumerate(listed) if imagenet and int(label) in published.PREDEFINED_CLASSES]
    drawing.class_ratio(folder / "classes.png", names, counts, total, known=known)
    return [Picture("classes.png", "Share of queries that have each class among their most probable ones.")]


PROGRAM = driver.program("figure5a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
