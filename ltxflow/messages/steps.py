"""Messages of ltxflow/steps."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_READS = (
    'read only what ltxflow uploads: write "{input}": {{{{ reference }}}}, {{{{ last_frame }}}}, {{{{ sound }}}}, '
    "{{{{ control.video }}}} or {{{{ extend.video }}}}"
)

RULES: Mapping[str, Rule] = {
    "L044": rule(
        "a clip has as many steps as its quality's schedule can have",
        too_many=Text(
            "{clip}: {quality} has a fixed schedule of {most} steps, not {steps}", "ask for fewer, or use quality: full"
        ),
        too_few=Text("{clip}: {quality} needs at least {least} steps, not {steps}", "ask for more ({usual} is usual)"),
    ),
    "L080": rule(
        "a template is one of the profile's or of the project's",
        '{clip}: no template "{template}" for {profile}',
        "choose one of: {known}",
    ),
    "L081": rule(
        'a template saves a video, by a node titled "video"',
        no_save_node=Text(
            'template "{template}" has no save node titled "{output}"',
            'give its {node} node "_meta": {{"title": "{output}"}}',
        ),
    ),
    "L083": rule(
        "a clip has what its template needs: a reference, a last frame, a guide video, a sound, what it extends",
        '{clip}: template "{template}" needs {setting}, which the clip does not have',
        "write  {setting}: …  or choose another template",
    ),
    "L084": rule(
        "a template reads only files that ltxflow uploads for the clip",
        of_clip=Text(
            '{clip}: node "{node}" ({class_type}) of template "{template}" would read {file} on the server, which is '
            "not a file of this clip",
            _READS,
        ),
        of_image=Text(
            '{reference}: node "{node}" ({class_type}) of template "{template}" would read a file on the server',
            "remove that node: a template that makes an image starts from a prompt alone",
        ),
    ),
    "L086": rule(
        "a sound is given to a clip whose template reads one",
        '{clip}: template "{template}" reads no sound file',
        "name a template that does (`ltxflow template list`), or write  sound: null",
    ),
    "L102": rule(
        "what a clip continues has enough frames, and another clip its shape",
        other_shape=Text(
            "{clip} samples {wanted}, and {source}, which it extends, is {found}",
            "give both the same stages and quality",
        ),
        too_short=Text(
            "{source} has {frames} frames, and {clip} takes {taken} of them",
            "write extends: {{frames: 9}}, or make it longer",
        ),
    ),
    "L108": rule(
        "a guide video is as long as the clip that follows it",
        "{guide} has {has}, and {clip} follows it for {wanted}",
        "give a longer video, or the clip a length of at most {most}f",
    ),
    "L109": rule(
        "keyframes lie in the clip, and are of a clip that is neither guided nor continued",
        after_end=Text(
            "{clip} has {frames} frames, and its keyframe at {at} would be frame {frame}",
            "write at: {last}f or less, or at: end",
        ),
        same_frame=Text("{clip} has two keyframes at frame {frame}: at {first} and at {second}", "remove one of them"),
    ),
    "L124": rule(
        "frame_of: names a moment that the clip has",
        "{clip} uses {frame}, and {source} ends after {frames} frames, {seconds}s",
        "write at: last, or a time before {seconds}s",
    ),
    "R100": rule(
        "a conformed film has the frames of its timeline",
        "the film came out with {found} frames, and its timeline has {wanted}",
        "run `ltxflow verify`, then `ltxflow conform` again",
    ),
    "R101": rule(
        "the timing of spoken words reads as it was written",
        '"{path}" is damaged: it does not hold the times of words',
        "set it aside with `ltxflow cache verify --repair`, then build again",
    ),
}
