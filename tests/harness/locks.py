"""Locks for tests: single takes, whole locks drawn at random, and the text of version 1, which nothing writes now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from ltxflow.core.digest import Digest, Key, digest_bytes
from ltxflow.lock.model import Acceptance, CoveredTake, Decision, Lock, LockEntry, LockTake


def a_take(name: str = "a", seed: int | None = 88, **parts: Any) -> LockTake:
    """Return a take with bytes of its own for each name."""
    parts = {"facts": {"frames": 121, "width": 1536, "fps": "25"}, "source": "comfyui"} | parts
    digest = digest_bytes(name.encode())
    outputs = {"last_frame": digest_bytes(b"last " + name.encode())}
    return LockTake(Key(digest_bytes(b"key " + name.encode())), seed, digest, 121, outputs=outputs, **parts)


def old_text(lock: Lock) -> str:
    """Return a lock in version 1: a line of JSON for each clip. It has no acceptance, no covered take, no `highest`."""
    lines = {clip: old_entry(entry) for clip, entry in lock.entries.items()}
    lines |= {f"model:{name}": dict(choices) for name, choices in lock.choices.items()}
    head = "# written by ltxflow, one line a clip: which take is in the cut, what was rendered; belongs into git\n"
    body = "".join(f"{name}: {json.dumps(lines[name], ensure_ascii=False)}\n" for name in sorted(lines))
    return f"{head}ltxflow-lock: 1\n{body}"


def old_entry(entry: LockEntry) -> dict[str, Any]:
    decision = entry.decisions.get(entry.pick, Decision())
    data: dict[str, Any] = {"pick": entry.pick}
    data |= {"status": decision.status} if decision.status else {}
    data |= {"reason": decision.reason} if decision.reason else {}
    return data | {"takes": {str(number): _old_take(take) for number, take in sorted(entry.takes.items())}}


def _old_take(take: LockTake) -> dict[str, Any]:
    data = {"key": take.key, "seed": take.seed, "digest": take.digest, "frames": take.frames}
    more = {"facts": take.facts, "source": take.source, "outputs": take.outputs, "tries": take.tries}
    return data | {name: value for name, value in more.items() if value}


# --- at random

# few, so that some are alike; two of them are numbers to YAML
DIGESTS = st.sampled_from(["1" * 64, "1" * 60 + "e123", *(letter * 64 for letter in "abcdef")])
TEXTS = st.text(max_size=6) | st.sampled_from(["true", "no", "12", "1e5", "a: b", "# c", "- d", 'say "so"', "\u2028"])
_PLAIN = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e9, 1e9) | TEXTS | DIGESTS
VALUES = _PLAIN | st.lists(_PLAIN, max_size=2) | st.dictionaries(TEXTS, _PLAIN, max_size=2)
DEEP = st.sampled_from(
    [{"last": {"digest": "c" * 64, "sizes": {"width": 8}}}, {"a": {"b": {"c": {}}}}, {"x": [{"y: z": [1]}]}]
)
FACTS = st.dictionaries(
    st.sampled_from(["frames", "fps", "width", "taken", "odd name"]) | TEXTS, VALUES | DEEP, max_size=3
)
DECISIONS = st.builds(Decision, st.sampled_from(["approved", "rejected", "pinned"]), st.text(st.characters(codec=None)))


def takes(keys: st.SearchStrategy[str] = DIGESTS, *, is_old: bool = False) -> st.SearchStrategy[LockTake]:
    """Return a strategy for takes; those of version 1 were accepted for nothing."""
    accepted = st.builds(Acceptance, DIGESTS.map(Key), st.just("") | DIGESTS)
    return st.builds(
        LockTake,
        key=keys.map(Key),
        seed=st.none() | st.integers(0, 2**53 - 1),
        digest=keys.map(Digest),
        frames=st.integers(0, 500),
        facts=FACTS,
        source=st.sampled_from(["", "comfyui", "reference", "pinned"]) | TEXTS,
        outputs=st.dictionaries(
            st.sampled_from(["published", "last_frame", "odd name"]), DIGESTS.map(Digest), max_size=2
        ),
        tries=st.integers(0, 9),
        accepted=st.none() if is_old else st.none() | accepted,
    )


@st.composite
def entries(draw: st.DrawFn) -> LockEntry:
    """Draw an entry with whatever one may have."""
    made = draw(st.dictionaries(st.integers(1, 12), takes(), max_size=2))
    decisions = draw(st.dictionaries(st.sampled_from([*made, 3]), DECISIONS, max_size=3))
    covered = {n: CoveredTake(draw(takes()), draw(DECISIONS)) for n in made if draw(st.booleans())}
    return LockEntry(draw(st.integers(1, 12)), made, decisions, covered, draw(st.sampled_from([0, 0, 20])))


@st.composite
def old_entries(draw: st.DrawFn) -> LockEntry:
    """Draw an entry that version 1 can have: one decision, about the pick."""
    made = draw(st.dictionaries(st.integers(1, 12), takes(is_old=True), max_size=3))
    pick = draw(st.sampled_from([*made, 1, 7]))
    status = draw(st.sampled_from(["", "approved", "rejected", "accepted", "pinned"]))
    decision = Decision(status, draw(TEXTS))
    return LockEntry(pick, made, {pick: decision} if decision != Decision() else {})


NAMES = st.sampled_from(["hook/a", "hook/a-b", "hook/b", "z/a", "reference:hero", "reference:hero/from-above"])
CHOICES: st.SearchStrategy[Mapping[str, Any]] = st.fixed_dictionaries(
    {"weights": st.dictionaries(st.sampled_from(["checkpoint", "text_encoder"]), TEXTS, min_size=1)},
    optional={"quality": TEXTS, "stages": st.sampled_from([1, 2])},
)


def locks(of: st.SearchStrategy[LockEntry] | None = None) -> st.SearchStrategy[Lock]:
    """Return a strategy for whole locks."""
    models = st.dictionaries(st.sampled_from(["ltx-2/19b", "ltx-2.3/22b"]), CHOICES, max_size=2)
    return st.builds(Lock, st.dictionaries(NAMES, entries() if of is None else of, max_size=2), models)
