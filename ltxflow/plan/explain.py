"""Explain why a key has changed: compare two actions in the author's words. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ltxflow.comfy.graph import diff_graphs
from ltxflow.core.digest import ACTION_FORMAT, Action, Digest, digest_json
from ltxflow.core.errors import Span
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace


@dataclass(frozen=True)
class Reason:
    """One value that changed: the field, what it was and is (JSON values), and where it is written now."""

    field: str
    old: Any
    new: Any
    span: Span | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        place = {"file": self.span.file, "line": self.span.line, "col": self.span.col} if self.span else None
        return {"field": self.field, "old": self.old, "new": self.new, "where": place, "detail": self.detail}


def reasons(node: Node, now: Action | None, before: Trace | None) -> list[Reason]:
    """Return every field that changed, and only those.

    Empty when there was nothing before, or the two actions are the same. A field that only one of them has comes
    with None, and so does a value that is what the quality says, before and now: these are left out.
    """
    if before is None or now is None or before.key == now.key:
        return []
    found = field_reasons(node, before.fields)
    found += [
        Reason(name, _input(node, name, was), _input(node, name, is_), node.span, "what it starts from was made again")
        for name, (was, is_) in _inputs(before.action, now).items()
        if was and is_  # else a setting says so
    ]
    if before.action.get("format", ACTION_FORMAT) != ACTION_FORMAT:
        found.append(Reason("format", before.action["format"], ACTION_FORMAT, detail="keys are computed another way"))
    if before.action.get("version", now.version) != now.version:
        old = before.action["version"]
        found.append(Reason("version", old, now.version, detail=change_of_version(node.kind, old, now.version)))
    if not found or ([reason.field for reason in found] == ["template"] and show(found[0].old) == show(found[0].new)):
        found = [*_in_body(node, before.action, now, found)] or found
    return found


def change_of_version(kind: str, old: str, new: str) -> str:
    """Return what the versions of a kind of step differ in, in words."""
    changes = step(kind).CHANGES
    what = changes.get(new, "") if str(old).isdecimal() and str(new) == str(int(old) + 1) else ""
    return f"ltxflow {what or f'makes {kind}s another way'} (version {old} → {new})"


def field_reasons(node: Node, old: Mapping[str, Any]) -> list[Reason]:
    """Return those that changed."""
    new = step(node.kind).fields(node)
    changed = [name for name in new if name in old and _is_another(old[name], new[name])]
    brought = {part for name in changed for part in _brought(name, old, new)}
    if "profile" in changed:
        brought |= {name for name in changed if name != "profile" and _is_of_profile(node, name, old[name], new[name])}
    found = [_reason(node, name, old[name], new[name]) for name in changed if name not in brought]
    return _prompt_as_one(node, found, old, new)


def _is_of_profile(node: Node, name: str, old: Any, new: Any) -> bool:
    """Return whether the profile alone explains a change: a default of its, or its content for the same name."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("is") == new.get("is"):
        return name in ("quality", "template")
    return step(node.kind).where(node, name) == node.span  # nothing is written for it


def is_from_upstream(node: Node, reason: Reason) -> bool:
    """Return whether what the clip is made from came out otherwise: nothing else was written."""
    old, new = reason.old, reason.new
    is_need = reason.field.partition(".")[0] in node.needs
    return is_need and isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("is") == new.get("is")


def only_upstream_differs(node: Node, now: Action | None, before: Trace) -> bool:
    """Return whether everything that keeps the action as it was is unchanged."""
    if now is not None:
        found = reasons(node, now, before)
        return bool(found) and all(is_from_upstream(node, reason) for reason in found)
    old, new = before.fields, step(node.kind).fields(node)
    return not any(_is_another(old[name], new[name]) for name in new if name in old)


def digest_of_text(node: Node) -> Digest:
    """Return a digest of what the author wrote of a node, whatever that which it starts from came out as."""
    module = step(node.kind)
    written = {
        name: value["is"]
        if isinstance(value, Mapping) and ("follows" in value or name.partition(".")[0] in node.needs)
        else value
        for name, value in module.fields(node).items()
    }
    return digest_json({"version": module.VERSION, "needs": sorted(node.needs), "fields": written})


def _is_another(old: Any, new: Any) -> bool:
    """Return whether a value changed. A picture that is generated first and one that is a file count as changed."""
    if differs(old, new):
        return True
    return isinstance(old, Mapping) and isinstance(new, Mapping) and ("of" in old) != ("of" in new)


def differs(old: Any, new: Any) -> bool:
    """Return whether it changed.

    A mapping changed where a part that both have did; what it is called does not count.
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return bool(old != new)
    if "follows" in new:
        return bool(old.get("is") != new["is"])
    return any(differs(old[part], new[part]) for part in new if part in old and part != "is")


def _brought(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the fields whose values are, before and now, what the field `name` sets: a quality's steps."""
    was, is_ = old[name], new[name]
    if not (isinstance(was, Mapping) and isinstance(is_, Mapping)):
        return []
    both = [part for part in is_ if part in was and part in new and part in old]
    return [part for part in both if not differs(was[part], old[part]) and not differs(is_[part], new[part])]


def _prompt_as_one(node: Node, found: list[Reason], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Reason]:
    """Text that became parts, or parts that became text, is one change; words that only moved are none."""
    rest = [reason for reason in found if not reason.field.startswith("prompt.")]
    was, is_ = _prompt(old), _prompt(new)
    if len(rest) == len(found) or (was == is_ and rest):
        return rest
    if was != is_ and (old.get("prompt.text") is None) != (new.get("prompt.text") is None):
        return [_reason(node, "prompt", was, is_), *rest]
    return found


def _prompt(fields: Mapping[str, Any]) -> str:
    return " ".join(text for name, text in fields.items() if name.startswith("prompt.") and text)


def _inputs(old: Mapping[str, Any], now: Action) -> dict[str, tuple[Any, Any]]:
    before = old.get("inputs", {})
    return {
        name: (before.get(name), now.inputs.get(name))
        for name in dict.fromkeys([*before, *now.inputs])
        if before.get(name) != now.inputs.get(name)
    }


def _input(node: Node, name: str, digest: str) -> dict[str, str]:
    return {"is": node.needs.get(name, "").partition("#")[0], "digest": digest}


def _reason(node: Node, name: str, old: Any, new: Any) -> Reason:
    where = step(node.kind).where
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        parts = [part for part in new if part in old and part != "is" and differs(old[part], new[part])]
        if "follows" in new:
            was, is_ = old.get("follows", {}), new["follows"]
            causes = [cause for cause in is_ if cause in was and was[cause] != is_[cause]]
            detail = ", ".join(f"{cause} {show(was[cause])} → {show(is_[cause])}" for cause in causes)
            return Reason(name, old["is"], new["is"], where(node, (causes or [name])[0]), detail)
        is_renamed = old.get("is") != new.get("is")  # then the names say enough
        old, new = (v.get("is") if is_renamed else {part: v[part] for part in ("is", *parts)} for v in (old, new))
    is_edited = name == "template" and show(old) == show(new)  # it has other content under the same name
    return Reason(name, old, new, where(node, name), "edited" if is_edited else "")


def _in_body(node: Node, old: Mapping[str, Any], now: Action, found: list[Reason]) -> Iterator[Reason]:
    """Return what changed in the action itself, where no value of the author's did: the template, or the profile."""
    before = old.get("body", {})
    field = "template" if found else "profile"
    for name in dict.fromkeys([*now.body, *before]):
        was, is_ = before.get(name), now.body.get(name)
        if name == "graph" and was and is_:
            for change in diff_graphs(was, is_):
                detail = f"in the workflow: {change.where}"
                yield Reason(field, change.old, change.new, step(node.kind).where(node, "workflow"), detail)
        elif was != is_ and "graph" not in before:
            yield Reason(name, was, is_, node.span)


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Return runs of words as ("=" | "-" | "+", text), in reading order."""
    before, after = old.split(), new.split()
    runs: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            runs.append(("=", " ".join(before[a:b])))
        else:
            if b > a:
                runs.append(("-", " ".join(before[a:b])))
            if d > c:
                runs.append(("+", " ".join(after[c:d])))
    return runs


def cause_of(reason: Reason) -> str:
    """Return what makes two reasons one edit: the field, and the words or values that changed in it.

    Of a text only the changed words count, and of a prompt not the part: an edited variable is in many sentences.
    """
    if isinstance(reason.old, str) and isinstance(reason.new, str):
        changed = _changed_words(reason.old, reason.new)
    else:
        changed = json.dumps([reason.old, reason.new], sort_keys=True, default=str)
    return f"{reason.field.partition('.')[0] if reason.field.startswith('prompt.') else reason.field} {changed}"


@lru_cache(maxsize=1024)
def _changed_words(old: str, new: str) -> str:
    return json.dumps([run for run in word_diff(old, new) if run[0] != "="])


def show(value: Any) -> str:
    """Return it as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        parts = [_part(name, part) for name, part in value.items() if name != "is" and not isinstance(part, Mapping)]
        if "is" not in value:
            return ", ".join(parts) or "none"
        return f"{show(value['is'])} ({', '.join(parts)})" if parts else show(value["is"])
    if isinstance(value, list):
        return ", ".join(map(show, value)) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _part(name: str, value: Any) -> str:
    """Return a part of a value; of a digest, its beginning."""
    text = show(value)
    return f"{name} {text[:8]}…" if len(text) == 64 and text.isalnum() else f"{name} {text}"
