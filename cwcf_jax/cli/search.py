"""This module is the command ``cwcf search``."""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from cwcf_jax import networks
from cwcf_jax.cli.finding import find_index
from cwcf_jax.images import find_picture, read_image
from cwcf_jax.index import Explanation, Hit, Index, QueryConfig, QueryDescription, explain


def main(arguments: argparse.Namespace) -> int:
    """Searches, and prints one line for each hit, or JSON."""
    query_config = (QueryConfig.thorough if arguments.thorough else QueryConfig)(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(QueryConfig)}
    )
    picture = find_picture(arguments.image)
    image = read_image(picture)
    index = find_index(arguments.index, [picture.parent] if isinstance(picture, pathlib.Path) else [])
    searcher = index.searcher(ray=arguments.ray, deadline=arguments.deadline)
    query = searcher.describe(searcher.prepare(image), arguments.box, query_config.classes)
    hits = searcher.search(query, query_config, count=arguments.count, first=arguments.first)
    explanations = [explain(searcher, query, hit, query_config) if arguments.explain else None for hit in hits]
    if arguments.json:
        print(json.dumps(as_json(index, query, hits, explanations), indent=1))
        return 0
    for rank, (hit, explanation) in enumerate(zip(hits, explanations, strict=True), arguments.first + 1):
        region = "" if hit.box is None else "  region " + ",".join(map(str, hit.box))
        print(f"{rank:4}  {hit.score:.4f}  {printable(hit.entry.path)}{region}")
        if explanation:
            for pair in explanation.pairs[:4]:
                print(f"              {pair.share / explanation.score:6.1%}  {pair.query} - {pair.picture}")
    return 0


def printable(path: str) -> str:
    """Returns a path as text on one line; as a JSON string if it has characters that cannot be printed."""
    return path if path.isprintable() else json.dumps(path)


def as_json(
    index: Index, query: QueryDescription, hits: list[Hit], explanations: list[Explanation | None]
) -> dict[str, Any]:
    """Returns the content that ``--json`` prints."""
    names = networks.class_names(index.model.network.spec)
    return {
        "root": str(index.root),
        "classes": [
            {"class": names[i], "probability": round(float(p), 6)}
            for i, p in zip(query.class_ids, query.probabilities, strict=True)
        ],
        "hits": [
            {
                "path": hit.entry.path,
                "score": round(hit.score, 6),
                "box": hit.box,
                **({"pairs": [pair._asdict() for pair in explanation.pairs]} if explanation else {}),
            }
            for hit, explanation in zip(hits, explanations, strict=True)
        ],
    }
