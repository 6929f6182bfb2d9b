"""A film's storyboard as one page that opens from a folder: data and all in it, but for pictures and clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "report.html"
PLACE = "/*DATA*/null"


def report_page(data: Mapping[str, Any]) -> str:
    """Given what a report shows, return the page. A browser reads no file beside it: the data stands in it.

    Nothing in the data can end the script it stands in: `<` is written as an escape.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    before, _, after = PAGE.read_text("utf-8").partition(PLACE)
    return f"{before}{text}{after}"
