"""The cut in formats of older editors, by OpenTimelineIO's adapters (the extra `editors`). Its only user."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.deliver.otio import otio_text, picture_only

ADAPTERS = {"edl": "cmx_3600", "fcpxml": "fcp_xml"}
SUFFIXES = {"otio": ".otio", "edl": ".edl", "fcpxml": ".xml"}
NEEDED = ("opentimelineio", "otio_cmx3600_adapter", "otio_fcp_adapter")
MISSING, REFUSED = "D031", "D032"


def written(cut: dict[str, Any], kind: str) -> str:
    """Given a cut and `otio`, `edl` or `fcpxml`, return the text of the file.

    Raise LtxflowError when OpenTimelineIO is needed and not there, or its adapter cannot say this film.
    """
    if kind == "otio":
        return otio_text(cut)
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        hint = "pip install 'ltxflow[editors]', or use the format that needs nothing: ltxflow export otio"
        raise LtxflowError(
            Problem(f"{kind} is written by OpenTimelineIO, which is not installed", hint=hint, code=MISSING)
        )
    otio = importlib.import_module("opentimelineio")
    timeline = otio.adapters.read_from_string(otio_text(picture_only(cut) if kind == "edl" else cut), "otio_json")
    rate = {"rate": timeline.tracks[0].duration().rate} if kind == "edl" else {}
    try:
        return str(otio.adapters.write_to_string(timeline, ADAPTERS[kind], **rate))
    except (otio.exceptions.OTIOError, ValueError) as error:
        hint = "use another format: ltxflow export otio"
        raise LtxflowError(
            Problem(f"OpenTimelineIO cannot write this film as {kind}: {error}", hint=hint, code=REFUSED),
            exit_code=FAILED,
        ) from error
