"""The guide for those who write a film with an agent: `ltxflow guide`, AGENTS.md of a new film, a resource of `mcp`.

Rules of prompts come from the catalogue, commands from the table, so that the guide cannot disagree with the program.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from ltxflow import __version__
from ltxflow.cli.table import COMMANDS
from ltxflow.messages import Rule
from ltxflow.messages.project import RULES

if TYPE_CHECKING:
    from ltxflow.models.profile import Profile

GUIDE = "AGENTS.md"
PROMPTS = """\
Describe in the present tense, in three to six sentences: the place and the light, who or what is there, how the camera
moves, what happens from first to last, the mood, the sound. `ltxflow check` finds these faults:"""
LISTED = (  # commands that write a film, in the order in which they are used
    *("check", "show", "narrate", "plan", "build", "status", "explain", "diff", "frame", "takes", "retake", "pick"),
    *("report", "conform", "export", "verify", "rules", "schema"),
)

HEAD = """\
# Write this film

`project.yaml` is the film: scenes, their narration, a prompt for every clip. ltxflow renders each clip once, on ComfyUI
with an LTX model, and keeps it; an edit renders again only what it reaches. Do not edit `ltxflow.lock` or anything in
`public/` and `.ltxflow/`: commands write them.

## The loop

1. Edit `project.yaml`. Run `ltxflow check` until it finds no errors: each problem names file:line:column and a remedy.
   A prompt that begins with TODO is still to be written.
2. Run `ltxflow build --animatic`: the whole film as slates with its real timing, in a minute, without a GPU.
3. Run `ltxflow plan`: what a build would render, why, and for how much GPU time. Show it to the person who pays.
4. Run `ltxflow build hook --max-gpu 10m` for one scene first, then the rest. A build can be stopped and run again at
   any time: what is finished is kept, what still runs on a server is fetched.
5. Look at the result: `ltxflow frame hook/b --at 2s` saves a picture, `ltxflow takes hook/b` has what checks found.
   If it is bad, change the prompt for what is wrong with the words, take another seed (`ltxflow retake hook/b "why"`,
   then `ltxflow pick hook/b@2`) for what is wrong with the picture.
6. Run `ltxflow conform`: one mp4, with its sound at broadcast level.

Every command takes `-p FOLDER` and `--json`: one document on the last line, with `ok`, `exit_code`, `data`, `problems`.
Exit codes: 0 ok, 1 something failed, 2 the command or the film is wrong, 3 a bug, 4 no server answers.

## What costs money

{costs}
- These edits render a clip again: its prompt, the look and variables it uses, seed, reference picture, LoRAs, size,
  frame rate, quality, model. `ltxflow plan` shows which clips an edit reaches, `--what-if FILE` before it is made.
- These are free: titles, the order of scenes, crossfades, pads, gain, captions, a narration that becomes shorter.
- Ids of scenes and clips decide seeds. To rename one, add `moved: [{{ from: hook/b, to: hook/c }}]`, or it is rendered
  again.
- Approved and pinned takes are a person's word. Leave them alone, and leave `--force`, `--yes`, `approve`, `accept`,
  `forget`, `cache gc` and `ltxflow trust` to a person, unless asked for one of them.
- `--max-gpu 30m` stops a build before it exceeds that.

## A film that works

- A scene is one thought under one narration, of about 4 to 20 seconds. Write the words first; lengths follow from them.
- Narration longer than a clip needs more clips: `check` says how many. Give each a different motion and distance.
- Start clips from pictures (`reference: refs/door.png`, or `{{ generate: … }}`): look and people then stay the same.
- Put what clips share into `look:` and `vars:`, once, with the same words everywhere.
- One clip is one shot: no cuts, no text in the picture, one thing that happens, with a beginning and an end.

```yaml
- id: hook
  narration: {{ text: "Every coin you own is guarded by one secret." }}
  clips:
    - id: a
      reference: refs/vault.png
      prompt:
        setup: "A close-up of a titanium vault in a dark hall."
        subject: "Fine scratches catch the light on the metal."
        camera: "The camera pushes slowly forward toward the keyhole."
        action: "The rings turn in opposite directions, and golden light pours out between them."
        mood: "Quiet tension turns into wonder."
        audio: "A low hum builds, then a crystalline chime."
```

## Prompts

{prompting}

{prompts}

`ltxflow rules P104` has the source of a rule; `ignore: [P104]` at a clip silences a warning that is wrong.

## Commands

{commands}

`ltxflow COMMAND --help` has the options, `ltxflow schema` the whole form of `project.yaml`.

*Written by ltxflow {version}; `ltxflow guide` prints it as it is now.*
"""


def guide_text() -> str:
    """Return the guide as Markdown."""
    width = max(map(len, LISTED))
    return HEAD.format(
        costs=_costs(),
        prompting=PROMPTS,
        prompts="\n".join(prompt_rules()),
        commands="\n".join(f"    ltxflow {name.ljust(width)}  {COMMANDS[name].help}" for name in LISTED),
        version=__version__,
    )


def prompting_text() -> str:
    """Return how to write prompts, and what each model takes, as Markdown."""
    from ltxflow.models.load import shipped_profiles  # late: they are read from files

    models = [
        f"- `profile: {each.name}` ({each.title}): prompts of at most {each.prompt_words_max} words, "
        f"clips of {_seconds(each)}, quality {_qualities(each)}"
        for each in shipped_profiles()
    ]
    rules = [PROMPTS, "", *prompt_rules(), "", "## Models", "", *models]
    return "# Prompts\n\n" + "\n".join(rules) + "\n"


def _seconds(profile: Profile) -> str:
    least, most = (frames / profile.fps.default for frames in profile.lengths.preferred)
    rate = profile.fps.default
    return f"{least:.2g} to {most:.2g} s at {rate} fps (at most {profile.lengths.ceiling_seconds} s)"


def _qualities(profile: Profile) -> str:
    names = list(profile.qualities)
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _costs() -> str:
    names = [f"`ltxflow {name}`" for name, command in COMMANDS.items() if command.uses_gpu]
    return f"- GPU time: {', '.join(names[:-1])} and {names[-1]}. Nothing else renders."


def prompt_rules() -> list[str]:
    """Return the rules of prompts as items of a list: the fault, why it is one, what to do, the code."""
    return [f"- {_item(rule)} [{code}]" for code, rule in RULES.items() if code.startswith("P")]


def _item(rule: Rule) -> str:
    hints = [text.hint for text in rule.texts.values() if text.hint and not _fields(text.hint)]
    parts = [
        f"{rule.title[:1].upper()}{rule.title[1:]}: {rule.why}.",
        *(f"{hint[:1].upper()}{hint[1:]}." for hint in hints[:1]),
    ]
    return " ".join(parts)


def _fields(text: str) -> list[str]:
    """Return the names of the values that a text needs: such a hint is about a certain clip."""
    return [field for _, field, _, _ in string.Formatter().parse(text) if field]
