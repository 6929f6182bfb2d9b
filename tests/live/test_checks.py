"""Our check of a graph and the real server agree: an error of ours is a refusal, and a refusal is an error of ours.

Many small changes of one graph of core nodes, which needs no model and no time. Where the server would take a graph and
then end its own worker (a node without inputs, a link to nowhere in an input that it does not know), it is not asked.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import pytest
from harness.live import Live

from ltxflow.comfy.adapt import adapt_graph
from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.client import Client
from ltxflow.comfy.signatures import Signatures
from ltxflow.core.errors import LtxflowError

pytestmark = pytest.mark.live

Graph = dict[str, Any]
SEEDS = range(6)
CHANGES = 60  # of the graph, each from the start, for each seed


def node(class_type: str, **inputs: Any) -> Graph:
    """A node; of nested inputs the dot is written `__`."""
    return {"class_type": class_type, "inputs": {name.replace("__", "."): value for name, value in inputs.items()}}


def right(color: int) -> Graph:
    return {
        "1": node("EmptyImage", width=64, height=48, batch_size=2, color=color),
        "2": node("SaveImage", images=["10", 0], filename_prefix="ltxflow-live/check"),
        "5": node(
            "ResizeImageMaskNode",
            input=["1", 0],
            resize_type="scale dimensions",
            resize_type__width=32,
            resize_type__height=32,
            resize_type__crop="center",
            scale_method="area",
        ),
        "6": node("ComfySwitchNode", switch=True, on_false=["5", 0], on_true=["7", 0]),
        "7": node("ImageFromBatch", image=["5", 0], batch_index=0, length=1),
        "8": node("ComfyMathExpression", expression="a+b", values__a=3, values__b=["9", 0]),
        "9": node("PrimitiveInt", value=5),
        "10": node("ImageCrop", image=["6", 0], width=16, height=16, x=["8", 1], y=0),
        "20": node("CreateVideo", images=["1", 0], fps=25.0),
        "21": node("SaveVideo", video=["20", 0], filename_prefix="ltxflow-live/check", format="mp4", codec="h264"),
        "30": node("EmptyLTXVLatentVideo", width=64, height=64, length=9, batch_size=1),
        "34": node(
            "LTXVScheduler", steps=3, max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1, latent=["30", 0]
        ),
        "35": node("PreviewAny", source=["34", 0]),
        "36": node("BatchImagesNode", images__image0=["1", 0], images__image1=["5", 0]),
        "37": node("PreviewImage", images=["36", 0]),
    }


LITERALS: list[Any] = [None, True, False, 0, 1, -1, 3, 12.5, "", "x", "5", "1.5", {}, {"a": 1}]
LITERALS += [{"__value__": 5}, {"__value__": [1, 2]}, [], [1], ["1"], [["1", 0], 0]]
CHOICES = ["mp4", "mkv", "h264", "av1", "auto", "scale width", "scale longer dimension", "center", "area"]
LINKS = [["1", 0], ["1", 1], ["5", 0], ["8", 1], ["20", 0], ["30", 0], ["99", 0], ["1", -1], ["1", "0"], [1, 0]]
EXTRA = ["extra", "codec", "format.codec", "format.codec.encoding", "resize_type.longer_size", "values.c", "values.zz"]
EXTRA += ["images.image2", "images.image99", "audio", "bit_depth"]


def changed(graph: Graph, chance: random.Random) -> Graph:
    """The graph with one to three things changed: values, inputs, nodes."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        inputs = graph[chance.choice(list(graph))]["inputs"]
        value = chance.choice([*LITERALS, *CHOICES, *LINKS])
        match chance.choices(["value", "gone", "more", "class", "no node"], [11, 5, 2, 1, 1])[0]:
            case "value" if inputs:
                inputs[chance.choice(list(inputs))] = value
            case "gone" if inputs:
                del inputs[chance.choice(list(inputs))]
            case "more":
                inputs[chance.choice(EXTRA)] = value
            case "class":
                graph[chance.choice(["40", "5"])] = node(chance.choice(["EmptyImage", "NoSuchNode", "PreviewAny"]))
            case "no node" if len(graph) > 1:
                graph.pop(chance.choice(list(graph)))
    return graph


@pytest.fixture(scope="module")
def signatures(live: Live) -> Signatures:
    return Signatures.from_object_info(live.ask(lambda client: client.object_info()))


@pytest.mark.parametrize("seed", SEEDS)
def test_our_errors_are_the_servers_refusals(live: Live, signatures: Signatures, seed: int) -> None:
    chance = random.Random(seed)

    async def work(client: Client) -> list[str]:
        wrong = []
        for _ in range(CHANGES):
            graph = changed(right(chance.randrange(1 << 24)), chance)
            errors = [problem for problem in check_graph(graph, signatures) if problem.level == "error"]
            if any(problem.code == "N108" for problem in errors):
                continue  # the server may not survive it
            adapted, _ = adapt_graph(graph, signatures)
            refused = ""
            try:
                await client.submit(adapted, str(uuid.uuid4()))
            except LtxflowError as error:
                refused = f"{'transient ' if error.transient else ''}{error}"
            if bool(errors) != bool(refused):
                wrong.append(f"{graph}: ours {[problem.message for problem in errors]}, the server's {refused}")
        async with asyncio.timeout(120):
            while await client.queue_remaining():  # it is still alive
                await asyncio.sleep(0.05)
        return wrong

    assert live.ask(work) == []
