"""What makes a prompt weak, found by reading it. Knows the frozen film and English words; no file, no model.

Rules that look for words speak up only on English prompts; those that count or compare, on all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from ltxflow.core.errors import Level, Problem, Span
from ltxflow.script.model import Clip, Project, Scene

SHORT, LONG = 20, 200  # words
SAME_MOTION = 0.92  # of the words, in order
CROSSFADE = (10, 15)  # frames
SLOWEST, LIVELY, FASTEST = (
    15,
    25,
    30,
)  # frames a second: 15–24 for static shots and close-ups, 25–30 for motion

GUIDE = "Lightricks LTX-2 README, prompting"
ENHANCER = "Lightricks ltx_pipelines, prompt enhancer's system prompt"
FREEZE = "Lightricks/LTX-2 issue 11, image-to-video that freezes"
COMMUNITY = "LTX-2 community guides"
EDITING = "editing practice"


@dataclass(frozen=True)
class Rule:
    """One rule: `why` the picture is better for it, and the `source` that says so."""

    code: str
    level: Level
    title: str
    why: str
    source: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("P101", "warning", "short prompt", "the model invents what a prompt leaves out", GUIDE),
        Rule("P102", "warning", "long prompt", "after 200 words the model loses the thread", GUIDE),
        Rule("P103", "warning", "keywords", "the model learned from sentences that tell what happens", GUIDE),
        Rule("P104", "warning", "no camera", "a camera that is not described freezes or wanders", GUIDE),
        Rule("P105", "warning", "no motion", "without motion in the prompt the picture freezes", FREEZE),
        Rule("P106", "warning", "no sound", "sound is made with the picture, and invented if not told", GUIDE),
        Rule("P107", "warning", "static description", "asked for a still, the model makes a still", FREEZE),
        Rule("P108", "error", "same motion twice", "two clips that move alike look like a mistake", EDITING),
        Rule("P109", "advice", "no reference", "from an image, look and subject hold across clips", COMMUNITY),
        Rule("P110", "warning", "frame rate for motion", "motion needs 25–30 frames a second", COMMUNITY),
        Rule("P111", "warning", "crossfade length", "10–15 frames hide a join: less jumps, more blurs", EDITING),
        Rule("P112", "advice", "cuts and times", "a clip is one shot, and has no clock", ENHANCER),
        Rule(
            "P113",
            "advice",
            "talk about the video",
            "what is seen comes first, not that it is seen",
            ENHANCER,
        ),
        Rule("P114", "advice", "inner states", "feelings and thoughts cannot be drawn", ENHANCER),
        Rule("P115", "advice", "frame rate for calm", "static shots and close-ups do with 15–24", COMMUNITY),
    )
}


def lint(project: Project) -> list[Problem]:
    """Given a film, return what the rules say, clip by clip, each at the part of the prompt that is meant.

    A clip's `ignore` setting silences warnings and advice, never errors. What is said of several clips at
    once is silent where all of them ignore it.
    """
    problems: list[Problem] = []
    film: list[_Reading] = []
    for scene in project.scenes:
        readings = [_read(clip) for clip in scene.clips]
        for position, reading in enumerate(readings):
            problems += (p for p in _clip_problems(reading) if not reading.ignores(p.code))
            problems += _same_motion(reading, readings[:position])
        film += readings
    return [*problems, *_crossfades(project.scenes), *_frame_rate(project, film)]


def _ignores(clip: Clip, code: str) -> bool:
    return code in (clip.get("ignore") or ())


def _problem(code: str, message: str, span: Span | None, hint: str) -> Problem:
    return Problem(message, span, hint, code, RULES[code].level)


# Reading


@dataclass(frozen=True)
class _Reading:
    """A clip's prompt as the rules see it. Words they look for are not looked for in what is spoken in it."""

    clip: Clip
    words: tuple[str, ...]
    is_english: bool
    has_camera: bool
    has_motion: bool
    has_sound: bool
    is_fast: bool
    is_calm: bool
    still: str  # the words that ask for no motion

    def ignores(self, code: str) -> bool:
        return _ignores(self.clip, code)

    def at(self, part: str = "") -> Span | None:
        spans = self.clip.prompt.spans
        return spans.get(part) or next(iter(spans.values()), self.clip.span)


_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")  # Chinese, Japanese, Korean
_SPEECH = re.compile(r"“[^”]*”|\"[^\"]*\"|„[^“”]*[“”]|«[^»]*»")


def _words(text: str) -> tuple[str, ...]:
    """The words in lower case; scripts without spaces count two characters as a word."""
    words = _WORD.findall(text.casefold())
    if text.isascii():
        return tuple(words)
    found: list[str] = []
    for word in words:
        if _UNSPACED.match(word):
            found += (word[i : i + 2] for i in range(0, len(word), 2))
        else:
            found.append(word)
    return tuple(found)


def _read(clip: Clip) -> _Reading:
    text = _SPEECH.sub(" ", clip.prompt.text)
    words = _words(text)
    seen = {*words, *(piece for word in words for piece in word.split("-"))}
    still = _STILL.search(text)
    moves = bool(seen & _MOVES) or any(a == "to" and b in _MOVES_AFTER_TO for a, b in pairwise(words))
    acts = len(_words(clip.prompt.parts.get("action", ""))) > 3
    return _Reading(
        clip=clip,
        words=_words(clip.prompt.text),
        is_english=_is_english(words, text),
        has_camera=bool(clip.prompt.camera or _CAMERA.search(text)),
        has_motion=moves or (acts and not still),
        has_sound=bool(clip.prompt.parts.get("audio") or seen & _SOUNDS),
        is_fast=bool(seen & _FAST),
        is_calm=bool(_LOCKED.search(text) or (_CLOSE.search(text) and not _CAMERA_MOVES.search(text))),
        still=still[0] if still else "",
    )


def _is_english(words: tuple[str, ...], text: str) -> bool:
    """Whether word lists apply: ASCII for the most part, with the little words that English prose has.

    A list of keywords has little words in no language, and passes for English.
    """
    if sum(not word.isascii() for word in words) > len(words) / 5:
        return False
    english = sum(word in _ENGLISH for word in words)
    if sum(word in _OTHER_LANGUAGES for word in words) > english:
        return False
    return len(words) < 8 or _is_keyword_list(text) or english >= len(words) / 12


def _is_keyword_list(text: str) -> bool:
    """Whether commas come every few words: at least four commas, with fewer than five words between them."""
    commas = len(re.findall(r"[,;|，、]", text))
    return commas >= 4 and len(_words(text)) / (commas + 1) < 5


# One clip


def _clip_problems(reading: _Reading) -> Iterator[Problem]:
    clip, count = reading.clip, len(reading.words)
    if count < SHORT:
        hint = "tell in three to six sentences what is seen, how it and the camera move, and how it sounds"
        yield _problem("P101", f"the prompt of {clip.path} has only {count} words", reading.at(), hint)
    if count > LONG:
        hint = f"keep to one shot and to {LONG} words, or make two clips of it"
        yield _problem("P102", f"the prompt of {clip.path} has {count} words", reading.at(), hint)
    for part, text in clip.prompt.parts.items():
        if part not in ("mood", "audio") and _is_keyword_list(text):
            hint = 'write sentences, such as "The door opens slowly while golden light pours out"'
            yield _problem("P103", f"the prompt of {clip.path} lists keywords", reading.at(part), hint)
    if count and reading.is_english:
        yield from _missing(reading)
        yield from _habits(reading)
    if clip.reference is None and clip.control is None and clip.extends is None:
        hint = "add `reference: refs/….png`, an image that shows how the clip begins"
        yield _problem("P109", f"{clip.path} starts from no image", clip.span or reading.at(), hint)


def _missing(reading: _Reading) -> Iterator[Problem]:
    path = reading.clip.path
    if not reading.has_camera:
        hint = 'say where it is or how it moves, such as "The camera pushes slowly forward"'
        yield _problem("P104", f"{path} does not mention the camera", reading.at(), hint)
    if reading.still and not reading.has_motion:
        hint = 'say what changes, be it little, such as "dust drifts through the light"'
        where = next(part for part, text in reading.clip.prompt.parts.items() if _STILL.search(text))
        yield _problem("P107", f'{path} says "{reading.still}", and nothing moves', reading.at(where), hint)
    elif not reading.has_motion:
        hint = 'say what moves, in the present tense, such as "the rings rotate"'
        yield _problem("P105", f"nothing moves in {path}", reading.at("action"), hint)
    if not reading.has_sound:
        hint = 'say what is heard, such as "A low hum builds", or "in silence"'
        yield _problem("P106", f"{path} has no sound", reading.at(), hint)


def _habits(reading: _Reading) -> Iterator[Problem]:
    habits = (
        (
            "P112",
            _CUTS,
            "asks for a cut or a time",
            "tell one shot as it happens; another shot is another clip",
        ),
        ("P113", _TALK, "talks about the video", "start with what is seen and what it does"),
        ("P114", _INNER, "tells an inner state", "show it by a face, a gesture, a posture"),
    )
    for code, pattern, does, hint in habits:
        for part, text in reading.clip.prompt.parts.items():
            if found := pattern.search(_SPEECH.sub(" ", text)):
                yield _problem(code, f'{reading.clip.path} {does}: "{found[0]}"', reading.at(part), hint)
                break


# Several clips


def _same_motion(reading: _Reading, earlier: Iterable[_Reading]) -> Iterator[Problem]:
    clip = reading.clip
    for other in earlier:
        mine = _motion(clip, other.clip)
        if mine and _is_same(mine, _motion(other.clip, clip)):
            span = other.at("action")
            line = f" (line {span.line})" if span else ""
            hint = f"let the camera or the action go on from {other.clip.path}{line}"
            message = f"{clip.path} has the same motion as {other.clip.path}"
            yield _problem("P108", message, reading.at("action"), hint)
            return


def _motion(clip: Clip, other: Clip) -> tuple[str, ...]:
    """The words to compare: camera and action where both clips have an action, else the whole prompt."""
    parts = clip.prompt.parts
    if parts.get("action") and other.prompt.parts.get("action"):
        return _words(f"{clip.prompt.camera} {parts['action']}")
    return _words(clip.prompt.text)


def _is_same(mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """Whether two motions are alike: the same words but for a few, none of which is a direction."""
    mine_only, theirs_only = Counter(mine) - Counter(theirs), Counter(theirs) - Counter(mine)
    if _DIRECTIONS & (mine_only.keys() | theirs_only.keys()):
        return False
    if mine_only.total() + theirs_only.total() > (1 - SAME_MOTION) * (len(mine) + len(theirs)):
        return False  # the ratio below cannot be higher; it takes far longer
    return SequenceMatcher(None, mine, theirs, autojunk=False).ratio() >= SAME_MOTION


def _crossfades(scenes: Iterable[Scene]) -> Iterator[Problem]:
    """Once for every place where a crossfade was written, however many scenes it holds for."""
    low, high = CROSSFADE
    wrong: dict[Span | None, list[Scene]] = {}
    for scene in scenes:
        goes_on = any(a.path in b.upstream for a, b in pairwise(scene.clips))
        joins = len(scene.clips) > 1 and not low <= scene.crossfade <= high and not (goes_on and scene.crossfade == 0)
        if joins and not all(_ignores(clip, "P111") for clip in scene.clips):
            setting = scene.settings.get("crossfade")
            wrong.setdefault((setting.span if setting else None) or scene.span, []).append(scene)
    for span, (first, *others) in wrong.items():
        which = f"{first.id} and {len(others)} more" if others else first.id
        message = f"a crossfade of {first.crossfade} frames in {which} is outside {low}–{high}"
        yield _problem("P111", message, span, "write `crossfade: 12f`")


def _frame_rate(project: Project, readings: list[_Reading]) -> Iterator[Problem]:
    fps, setting = project.fps, project.settings.get("fps")
    span = setting.span if setting else None
    moving = [reading for reading in readings if not reading.ignores("P110")]
    fast = [reading.clip.path for reading in moving if reading.is_fast]
    if moving and not SLOWEST <= fps <= FASTEST:
        yield _problem("P110", f"fps {fps} is outside {SLOWEST}–{FASTEST}", span, f"write `fps: {LIVELY}`")
    elif fps < LIVELY and fast:
        which = f"{fast[0]} and {len(fast) - 1} more" if len(fast) > 1 else fast[0]
        hint = f"write `fps: {LIVELY}`, or slow the motion down"
        yield _problem("P110", f"fps {fps} is low for the fast motion in {which}", span, hint)
    calm = [r for r in readings if r.is_calm and not r.is_fast and not r.ignores("P115")]
    if fps >= LIVELY and len(calm) * 2 > len(readings):
        message = f"fps {fps} is high for a film in which {len(calm)} of {len(readings)} clips are calm"
        hint = f"{SLOWEST}–{LIVELY - 1} shows static shots and close-ups as well, with fewer frames to render"
        yield _problem("P115", message, span, hint)


# Words


def _list(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(lines: str) -> re.Pattern[str]:
    """Given patterns, one a line, return one that finds any of them as whole words, in any case."""
    patterns = filter(None, map(str.strip, lines.splitlines()))
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


def _forms(verbs: str, forms: str = "base s ing") -> frozenset[str]:
    """Given verbs (+ where "-ing" doubles a letter), return their forms: spin+ → spin spins spinning."""
    found: set[str] = set()
    for marked in verbs.split():
        verb = marked.rstrip("+")
        stem = verb + verb[-1] if marked != verb else re.sub(r"(?<=[^eoy])e$", "", verb)
        third = verb + ("es" if re.search(r"(?:s|x|z|ch|sh|[^aeo]o)$", verb) else "s")
        third = verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else third
        by_name = {"base": verb, "s": third, "ing": stem + "ing"}
        found |= {by_name[form] for form in forms.split()}
    return frozenset(found)


# Verbs of motion: those that count in any form; those whose base form is as often something else ("an open
# vault", "the lower half"); those that only "-ing" tells from a noun ("waves", "locks", "streams of light").
# Verbs that describe a state ("glowing", "shining") are left out.
_ALWAYS = """
    accelerate advance ascend assemble billow blink bob+ boil bounce breathe bubble careen cascade chase
    clamber climb collapse collide converge crawl creep crumble crumple dangle dart descend detach dip+
    disappear disperse dissipate dissolve dive drag+ drift drip+ emerge engulf enter erupt evaporate
    expand explode extend fade flap+ flee flicker fling flip+ float flow flutter fly follow gallop
    gather glide glitch grab+ grow heave hop+ hover hurl hurtle ignite inflate insert jolt jump kneel
    launch lean leap lunge melt merge migrate morph move nod+ orbit oscillate overflow peel pivot plunge
    pour pull pulsate push radiate raise rearrange recede recoil retract retreat reveal revolve ripple
    rise roam rotate run+ rush scamper scatter scramble scurry seep separate settle shake shatter
    shiver shrink shudder shuffle skid+ skim+ slam+ slither smash snap+ soar spill spin+ sprint
    sprout squeeze stagger stride stroll strut stumble surge sway sweep swim+ swirl swivel swoop throb+
    throw thrust tilt topple toss travel traverse tremble trickle tumble turn twirl twist undulate
    unfold unfurl unlock unravel unroll unscrew unwind unwrap+ vanish vibrate walk wander weave whirl
    wiggle wobble writhe zigzag+ zoom
"""
_OFTEN = """
    approach arrive bend bloom break brighten burn burst carry carve catch circle close crash cross
    dance darken deepen dim+ draw drive fall fill flare flash flood freeze hide intensify jab+ kick
    leave lift lower march narrow open overtake pass pick pierce pop+ press pulse race reach ride roll
    scan+ scrape scroll shift shoot shut+ sink skip+ slide slip+ slow split spread stretch strike swarm
    swell swing tap+ tighten trace weave whip+ widen wipe wrap+ write
"""
_RARELY = """
    arc beam blossom coil crack crane curl drop+ fan+ flick fold form fuse land lock loop part point
    sail slice snake spark spiral spring stamp step+ stir+ stream tear touch trail type wave
"""
_PACE = """
    slowly quickly rapidly gradually steadily smoothly swiftly suddenly timelapse time-lapse hyperlapse
    upward downward
"""
_HURRY = """
    bolt careen chase crash dart dash erupt explode gallop hurtle lunge plummet race run+ rush scramble
    shatter sprint swoop tumble
"""
_MOVES = _forms(_ALWAYS) | _forms(_OFTEN, "s ing") | _forms(_RARELY, "ing") | _list(_PACE)
_MOVES_AFTER_TO = _forms(_OFTEN + _RARELY, "base")
_FAST = _forms(_HURRY) | _list("fast quickly rapidly frantically speeding high-speed")

_HEARD = """
    beep buzz chant chatter chime chirp clack clang clank clap+ clatter click clink crackle creak crunch
    ding drum+ echo giggle groan growl gurgle hiss howl hum+ jingle knock laugh mumble murmur narrate
    patter purr rattle resonate reverberate roar rumble rustle scream shout shriek sing sizzle speak
    squeak swish talk thrum+ thud+ thump tick tinkle toll whir+ whirr whisper whistle whoosh yell
"""
_HEARD_RARELY = "bang boom drone hear listen pop+ ring say splash strum+ wail"
_SOUND = """
    acoustic alarm ambience ambiance applause audible audio bass bell bells birdsong cello chord chords
    choir dialog dialogue drumbeat flute footfalls footstep footsteps guitar harp hears heard heartbeat
    heartbeats hushed laughter loud melody music musical narration narrator noise noises orchestra
    orchestral percussion piano says sfx silence silent silently siren sirens song sound sounds
    soundscape soundtrack speech synth synthesizer synthesiser thunder tune violin violins vocals voice
    voiceover voice-over voices
"""
_SOUNDS = _forms(_HEARD) | _forms(_HEARD_RARELY, "ing") | _list(_SOUND)

_CAMERA = _phrases(r"""
    camera(?:s|work)?
    doll(?:y|ies|ying)
    pans|panning|pan (?:across|left|right|over|up|down|to)|(?:slow|whip) pan
    tilts? (?:up|down)
    zooms?|zooming
    (?:tracking|crane|jib|aerial|drone|wide|long|medium|close|establishing|overhead) shot
    (?:static|tripod|dutch|point-of-view|over-the-shoulder|two|macro|push-in) shot
    close-?up|extreme close
    hand-?held|steadicam|gimbal
    pov|point of view|viewpoint|viewer|bird'?s[- ]eye|top-down
    (?:low|high|eye-level|wide) angle
    lens|rack focus|focus (?:shifts|pulls|racks)
    push(?:es|ing)?[- ]in|pull(?:s|ing)?[- ](?:back|out)
    orbits? around
    shot on|framed|framing|foreground
""")
_CAMERA_MOVES = _phrases(r"""
    camera\b[^.]*\b(?:mov|push|pull|pan|tilt|doll|track|orbit|crane|glid|drift|ris|descend|arc|circl|follow)\w*
    camera\b[^.]*\b(?:zoom|sweep|travel|lower|climb|slid|float|swing|rotat|turn|back|advanc|eas|creep|reveal)\w*
    camera\b[^.]*\b(?:tip|lift|sink|retreat)\w*
    doll(?:y|ies|ying)|tracking shot|push-in|pans|panning|zooms|crane shot
""")
_LOCKED = _phrases(r"""
    static (?:camera|shot|frame)
    locked[- ](?:off|down)|tripod|fixed camera
    camera (?:is|stays|remains|holds) (?:still|static|fixed|locked|steady)
""")
_CLOSE = _phrases("close-?up|macro")
_STILL = _phrases(r"""
    motionless|immobile|unmoving|static|stationary
    nothing moves|no (?:movement|motion)|(?:not|never) mov(?:e|es|ing)|without moving
    frozen in (?:time|place)|freeze[- ]frame
    (?:stands?|sits?|lies|remains?|stays?|perfectly|completely|absolutely|totally) still
    still (?:image|frame|photo|photograph|picture|shot|life)
""")
_CUTS = _phrases(r"""
    (?:cuts?|cutting) to:? (?:an?|the|another|his|her|their|black|close|wide)|(?:jump|smash|match|hard|quick) cuts?
    (?:fades?|dissolves?) to (?:black|white)|crossfades? to
    next (?:scene|shot)|montage|split[- ]screen
    [0-9]{1,2}:[0-5][0-9]
    (?:at|after|from|until) (?:second )?[0-9]+(?:\.[0-9]+)? ?(?:s|secs?|seconds?)
    (?:first|last|next) (?:[0-9]+|two|three|four|five) seconds
""")
_TALK = _phrases(r"""
    (?:the|this) (?:scene|video|clip|footage|film|shot|animation) (?:opens|begins|starts|ends)
    (?:the|this) (?:scene|video|clip|footage|film|shot|animation) (?:shows|depicts|features|captures)
    (?:opening|closing) (?:scene|shot) (?:of|shows)
    we (?:can )?see
    (?:create|generate|make) (?:a|an) (?:video|clip|animation)
""")
_WHO = r"(?:he|she|they|it|who|man|woman|girl|boy|child|person|and) (?:is |are )?"
_INNER = _phrases(rf"""
    {_WHO}(?:feels?|feeling|thinks?|thinking|knows?|believes?|hopes?|hoping|wishes|wishing|wants?|wanting)
    {_WHO}(?:remembers?|remembering|reali[sz]es?|wonders?|wondering|understands?|regrets?|fears?|loves?|hates?)
    {_WHO}(?:worries|imagines?|decides?)
    lost in thought
    feels? (?:sad|happy|lonely|anxious|nervous|guilty|proud|confused|relieved|determined|afraid|angry|hopeful)
    (?:is|looks?|seems?) (?:confused|determined to|conflicted|torn between)
""")
# Words that make two prompts move apart though all others are the same.
_DIRECTIONS = _forms("""
    open close rise fall descend ascend push pull lock unlock appear vanish grow shrink enter leave
""") | _list("""
    left right up down upward upwards downward downwards in out into inward inwards outward outwards
    forward forwards backward backwards back toward towards away above below under over clockwise
    counterclockwise anticlockwise around across inside outside leftward leftwards rightward rightwards
""")
_ENGLISH = _list("""
    a an the of and in with to on is are from as at into its it by for over through that while toward
    towards his her their across under above behind between then this like out up
""")
_OTHER_LANGUAGES = _list("""
    der die das und ein eine einen einem einer eines dem den des mit ist auf von zu im am aus durch wird
    sich le la les un une et du dans est sur avec qui vers au aux pour par el los las una unos y con en
    que por hacia del se su al para mientras il lo gli della nel che verso mentre o os um uma com em da
    do na no enquanto de het een met van op naar terwijl uit och att det som med av til og er
""")
