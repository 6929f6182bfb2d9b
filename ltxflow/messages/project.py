"""Messages of ltxflow/project: the film, its prompts, and the user's configuration."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

GUIDE = "Lightricks LTX-2 README, prompting"
ENHANCER = "Lightricks ltx_pipelines, prompt enhancer's system prompt"
FREEZE = "Lightricks/LTX-2 issue 11, image-to-video that freezes"
COMMUNITY = "LTX-2 community guides"
EDITING = "editing practice"

RULES: Mapping[str, Rule] = {
    "L013": rule(
        "the output is a separate folder",
        inside=Text('output "{name}" is inside "{folder}"', "choose a folder, such as {example}"),
        project=Text("output is the project folder itself", "choose a folder, such as {example}"),
        file=Text('output "{name}" is a file', "choose a folder, such as {example}"),
    ),
    "L020": rule("a named file exists", 'no file "{name}"'),
    "L021": rule("an image can be read", "{reason}"),
    "L022": rule(
        "an image fits: little of it is cropped or upscaled",
        "{name}: {warning}",
        "give a picture of the shape and size of the clip, or write ignore: [L022] if it is as you want it",
        level="warning",
    ),
    "L023": rule("a video can be read", "{reason}"),
    "L024": rule("a sound can be read", "{reason}"),
    "L025": rule(
        "a video has opaque pictures in standard dynamic range",
        hdr=Text(
            '"{name}" is HDR: it becomes standard range, with its highlights compressed',
            "grade it to standard range first if its colours matter",
        ),
        alpha=Text('"{name}" has transparent parts: they become black', "put it on a background first"),
        level="advice",
    ),
    "L030": rule("a variable in a prompt is defined under vars", 'unknown variable "{name}"'),
    "L031": rule(
        "a prompt contains names of vars, not code",
        name=Text('"{text}" is not a variable name', "use names of vars, not code"),
        unmatched=Text('"{text}" is unmatched', "write {{{{ name }}}}"),
        code=Text('"{text}" is code', "use names of vars, not code"),
    ),
    "L032": rule(
        "a variable does not use other variables",
        'variable "{name}" uses another variable',
        "write the text out in full",
    ),
    "L033": rule(
        "a prompt is not empty", "the prompt is empty", "describe what is seen, how it moves and how it sounds"
    ),
    "L034": rule(
        "texts are bounded after their variables are filled in",
        text=Text(
            "the text has more than {most} characters after its variables are filled in",
            "shorten the text or the variables it uses",
        ),
        film=Text(
            "the prompts of the film have more than {most} characters after their variables are filled in",
            "shorten the variables and looks that many clips use",
        ),
    ),
    "L035": rule(
        "a prompt is written before its clip is rendered",
        '{clip}: the prompt is still "{text}"',
        "describe what is seen, how it moves and how it sounds; `ltxflow guide` has the rules",
        why="a render costs GPU time; slates are drawn without it: ltxflow build --animatic",
        many=Text(
            "{count} prompts are still to be written, of {names}", "write them: `ltxflow check` lists their places"
        ),
    ),
    "L040": rule(
        "the frame rate is one the model was made for",
        "fps {fps} is outside {low}–{high}",
        "write fps: {default}, the frame rate {model} was made for",
    ),
    "L042": rule("a quality is one of the profile's", 'unknown quality "{quality}"'),
    "L043": rule(
        "a clip is not longer than the model allows",
        "length {length} is {frames} frames: {model} makes at most {limit} at {fps} fps",
        "split it into clips of at most {limit}f",
    ),
    "L045": rule("a LoRA is a file, or a name defined under loras", 'unknown LoRA "{name}"'),
    "L046": rule(
        "a guide video has the IC-LoRA that reads it",
        "a guide video needs an IC-LoRA",
        "add its file to control, such as lora: my-control.safetensors",
    ),
    "L047": rule(
        "a length in frames is one the model makes: 8n+1",
        "length {length} becomes {frames} frames: a clip has {step}n+1 frames",
        "write {frames}f, or a time such as 4s",
        level="advice",
    ),
    "L048": rule(
        "the map of a guide video can be computed",
        'no map can be computed from a guide video for mode "{mode}"',
        "write preprocess: false, or mode: {modes}",
    ),
    "L049": rule(
        "a guide video whose map is not computed is such a map already",
        'control mode "{mode}": "{video}" is used as it is, as a map of {kind}',
        "write preprocess: true to have the map computed, or preprocess: false if it is one",
        level="warning",
    ),
    "L050": rule("an id is used once", '{kind} id "{name}" is used twice', "rename one: the first is at {place}"),
    "L051": rule(
        "an id is not a reserved name on Windows",
        '"{name}" is a reserved name on Windows',
        'use another id, such as "{name}-1"',
    ),
    "L060": rule(
        "a narration has words, a duration or a file", "the narration has no words", "write the words, or a duration"
    ),
    "L061": rule(
        "a speech engine is built in or configured under engines; a missing one speaks nothing new",
        offline=Text("no offline speech engine is installed"),
        missing=Text('engine "{engine}" is not configured'),
        unknown=Text('unknown engine "{engine}"'),
    ),
    "L062": rule("a line id is used once in its narration", 'line id "{name}" is used twice'),
    "L063": rule(
        "a voice is one of the engine's, and is given where the engine needs one",
        name=Text('"{voice}" is not a voice name', "use a name that the engine lists"),
        missing=Text("engine {engine} needs a voice", "add voice: …"),
    ),
    "L064": rule(
        "a line has words to speak", 'there are no words to speak in "{text}"', "write words, or remove the line"
    ),
    "L065": rule(
        "an engine has a server or a command, and nothing a project may not set",
        taken=Text('engine "{name}": the name is reserved', "choose another name: {name} is built in"),
        mapping=Text('engine "{name}": the entry must be a mapping', "write url: and model:, or command:"),
        key=Text('engine "{name}": unknown key "{key}"', "use one of {known}"),
        secret=Text(
            'engine "{name}": a project may not set "{key}"',
            "move this engine to your own configuration: keys are sent only where it permits",
        ),
        origin=Text(
            'engine "{name}": needs either a url or a command',
            "write url: http://127.0.0.1:8880/v1, or command: [piper, …]",
        ),
        text=Text('engine "{name}": "{key}" must be a text', "put the value in quotes"),
        url=Text('engine "{name}": "{url}" is not a valid url', "write one such as http://127.0.0.1:8880/v1"),
        timeout=Text('engine "{name}": "{timeout}" is not a time', "write a time such as 90s or 5m"),
        env=Text('engine "{name}": env must be a list of variables', "write env: [ELEVEN_API_KEY]"),
        command=Text('engine "{name}": the command must be a list of words', "write a list: {example}"),
        program=Text('engine "{name}": "{word}" is not a program', "write a list: {example}"),
        placeholder=Text('engine "{name}": the command has no {missing}', "add it; these are filled in: {places}"),
    ),
    "L066": rule("a pause is a time: 12f or 0.4s", "{reason}"),
    "L067": rule(
        "a narration is given in one way",
        "a narration has both lines and a text, a file or a duration",
        "keep one of them",
    ),
    "L070": rule("moved names a clip that is in the film", 'moved to "{name}", which is not in the film'),
    "L071": rule(
        "moved names an earlier clip that has left the film",
        'moved from "{name}", which is still in the film',
        "remove this entry",
    ),
    "L072": rule(
        "moved pairs two clips or two scenes",
        'moved pairs a clip with a scene: "{old}" and "{new}"',
        "write two clips, such as {{from: hook/b, to: intro/b}}, or two scenes",
    ),
    "L073": rule(
        "moved leads to a clip of the film",
        'moved leads from "{name}" back to "{name}"',
        "remove these entries, or name a clip of this film",
    ),
    "L074": rule(
        "moved names a clip once, and a place once",
        new=Text('moved to "{name}" twice: from "{first}" and from "{second}"', "keep one of these entries"),
        old=Text('moved from "{name}" twice', "keep one of these entries"),
    ),
    "L082": rule(
        "a precision of weights is one the profile names",
        'no "{precision}" weights of the {role} in {profile}',
        "choose one of {known}",
    ),
    "L100": rule(
        "extends names a clip of the film, or a file",
        both=Text(
            'extends names the clip "{clip}" ({clip_origin}) and the file "{file}" ({file_origin})', "keep one of them"
        ),
        missing=Text('{clip} extends "{other}", which is not in the film'),
    ),
    "L101": rule(
        "extends takes 8n+1 frames, and the clip is longer than that",
        grid=Text("extends takes {frames} frames, which is not 8n+1: the rest would be lost"),
        short=Text(
            "{clip} has {length} frames, and {frames} of them repeat the clip it extends",
            "make it longer than {frames}f, or take fewer frames, at least 9",
        ),
    ),
    "L102": rule(
        "an extended clip or file has enough frames, and a clip the same shape",
        file=Text(
            '"{name}" has {has}, and extends takes {frames}', "take fewer frames, at least 9, or give a longer file"
        ),
    ),
    "L103": rule(
        "pinned sound continues sound that lasts up to the last frame",
        '"{name}" has {has}',
        "write audio: fresh to make new sound for the clip",
    ),
    "L104": rule(
        "a clip that extends another has no guide, doubling, reference or last frame",
        "{clip} extends {source} and has {others}",
        "write {nulls}, or extends: null",
    ),
    "L105": rule(
        "a frame rate is doubled by an upscaler the profile has, to an even one",
        upscaler=Text("{model} has no temporal upscaler", "write temporal_upscale: false"),
        odd=Text(
            "temporal_upscale needs an even fps, not {fps}",
            "write fps: {lower} or {higher}, or temporal_upscale: false",
        ),
    ),
    "L106": rule(
        "a clip and the one that continues it meet without a crossfade",
        "{clip} continues {before}, and they also overlap by a {frames}-frame crossfade",
        "write crossfade: 0f in scene {scene}",
        level="warning",
    ),
    "L107": rule(
        "covers names the lines of the narration, each once and in order, for all clips of a scene",
        none=Text(
            "{clip} covers no line, but other clips of its scene do",
            "name the lines spoken while it plays, or remove covers from the other clips",
        ),
        order=Text('{clip} covers "{line}", which is not the next line'),
        unknown=Text('{clip} covers "{line}", which is not a line of this scene'),
        rest=Text('no clip covers line "{line}"', "write covers: [{lines}]"),
    ),
    "L109": rule(
        "keyframes lie in the clip, and the clip is neither guided nor continued",
        others=Text("{clip} has keyframes and {others}", "write {nulls}, or keyframes: null"),
    ),
    "L110": rule(
        "an include is a YAML or text file of the project, a file under scenes a YAML file",
        missing=Text('no file "{name}"'),
        whole=Text("a file cannot consist of one include", "name the included file instead"),
    ),
    "L111": rule(
        "includes have no cycle and are bounded",
        cycle=Text("includes form a cycle: {cycle}", "remove one of them"),
        many=Text("the film has more than {most} includes", "include fewer files"),
    ),
    "L112": rule(
        "a pattern under scenes matches files of one folder",
        folder=Text('pattern "{name}" leaves its folder of the project', "write a pattern such as scenes/*.yaml"),
        none=Text('no file matches "{name}"', "write a pattern such as scenes/*.yaml"),
    ),
    "L120": rule("a reference is a file, or defined under references", 'no reference "{name}"'),
    "L121": rule(
        "an angle belongs to a generated reference",
        base=Text("an angle has no base", "write {group}: {{base: …, angle: …}}"),
        file=Text(
            '"{name}" is a file and has no other angle',
            "remove the angle, or have the reference generated: generate: {{prompt: …}}",
        ),
        alike=Text(
            'the angles "{first}" and "{second}" differ only in punctuation or case',
            "write both alike, or make them differ in words",
        ),
    ),
    "L122": rule(
        "an image is generated by an engine with an images API, or by a template of the project",
        missing=Text('references.{name}: engine "{engine}" is not configured'),
        unknown=Text('references.{name}: unknown engine "{engine}"'),
        images=Text('references.{name}: engine "{engine}" makes no images'),
        template=Text('references.{name}: no template "{template}"'),
    ),
    "L123": rule(
        "frame_of names a clip of the film", '{clip}: {setting} is a frame of "{other}", which is not in the film'
    ),
    "L125": rule(
        "clips do not depend on each other in a cycle",
        "{clip} depends on itself: {cycle}",
        "start one of them from a separate picture, or from none",
    ),
    "L126": rule(
        "a chain of clips made from one another is short: colours and faces drift",
        "{clip} is {count} clips away from an independent start ({chain}): colours and faces drift with each clip",
        "start one of them from a separate picture, such as a reference",
        level="warning",
    ),
    "L130": rule("the configuration is a mapping", "the configuration must be a mapping", "write one key a line"),
    "L131": rule("keys of the configuration are known", 'unknown key "{key}"', "use one of {known}"),
    "L132": rule(
        "values of the configuration have the right form",
        store=Text("store must be a path", "write store: /disk/ltxflow"),
        nodes=Text("allowed_nodes must be a list of names", "write allowed_nodes: [A, B]"),
        server=Text('"{server}" is not a server address', "write servers: [http://bench:8188]"),
        remote=Text(
            "remote must be an address, or a mapping with url, headers_from_env and read_only",
            "write remote: https://cache.example.org/ltxflow",
        ),
        limits=Text("ask_above must be a mapping", "write ask_above: {{clips: 10, minutes: 30}}"),
        limit=Text('ask_above: "{name}: {value}" is not a limit', "write ask_above: {{clips: 10, minutes: 30}}"),
    ),
    "L133": rule(
        "the variable with a header of the shared store is set",
        "the environment variable {variable} is not set; the shared store needs it",
        "export {variable}, or remove it from headers_from_env in your config",
    ),
    "P101": rule(
        "short prompt",
        "the prompt of {clip} has only {words}",
        "describe in three to six sentences what is seen, how it and the camera move, and how it sounds",
        level="warning",
        why="the model invents what a prompt leaves out",
        source=GUIDE,
    ),
    "P102": rule(
        "long prompt",
        "the prompt of {clip} has {words} words",
        "keep to one shot and at most {most} words, or split it into two clips",
        level="warning",
        why="after 200 words the model loses the thread",
        source=GUIDE,
    ),
    "P103": rule(
        "keywords",
        "the prompt of {clip} lists keywords",
        'write sentences, such as "The door opens slowly while golden light pours out"',
        level="warning",
        why="the model learned from sentences that describe what happens",
        source=GUIDE,
    ),
    "P104": rule(
        "no camera",
        "{clip} does not mention the camera",
        'describe its position or movement, such as "The camera pushes slowly forward"',
        level="warning",
        why="a camera that is not described freezes or wanders",
        source=GUIDE,
    ),
    "P105": rule(
        "no motion",
        "nothing moves in {clip}",
        'describe a motion in the present tense, such as "the rings rotate"',
        level="warning",
        why="without motion in the prompt the picture freezes",
        source=FREEZE,
    ),
    "P106": rule(
        "no sound",
        "{clip} describes no sound",
        'describe the sound, such as "A low hum builds", or write "in silence"',
        level="warning",
        why="sound is generated with the picture, and invented unless described",
        source=GUIDE,
    ),
    "P107": rule(
        "static description",
        '{clip} asks for "{words}", and nothing moves',
        'describe a change, however small, such as "dust drifts through the light"',
        level="warning",
        why="a prompt for a still makes a still",
        source=FREEZE,
    ),
    "P108": rule(
        "same motion twice",
        equal=Text(
            "{clip} has the same motion as {other}",
            'continue the camera or the action from {place}, or write ignore: ["P108"] if they should be alike',
        ),
        nearly=Text("{clip} moves nearly like {other}", "continue the camera or the action from {place}"),
        why="two clips that move alike look like one; a warning if nearly",
        source=EDITING,
    ),
    "P109": rule(
        "no reference",
        "{clip} has no starting image",
        "add `reference: refs/NAME.png`, an image that shows how the clip begins",
        level="advice",
        why="with an image, look and subject stay consistent across clips",
        source=COMMUNITY,
    ),
    "P110": rule(
        "frame rate for motion",
        range=Text("fps {fps} is outside {low}–{high}", "write `fps: {better}`"),
        fast=Text("fps {fps} is low for the fast motion in {clips}", "write `fps: {better}`, or slow the motion down"),
        level="warning",
        why="motion needs 24–30 frames a second",
        source=COMMUNITY,
    ),
    "P111": rule(
        "crossfade length",
        "a crossfade of {frames} frames in {scenes} is outside {low}–{high}",
        "write `crossfade: 12f`",
        level="warning",
        why="10–15 frames hide a join: less jumps, more blurs",
        source=EDITING,
    ),
    "P112": rule(
        "cuts and times",
        '{clip} asks for a cut or a time: "{words}"',
        "describe one shot, and make another shot another clip",
        level="advice",
        why="a clip is one shot, and has no clock",
        source=ENHANCER,
    ),
    "P113": rule(
        "talk about the video",
        '{clip} talks about the video: "{words}"',
        "start with what is seen and what it does",
        level="advice",
        why="the picture comes first, not the fact that it is seen",
        source=ENHANCER,
    ),
    "P114": rule(
        "inner states",
        '{clip} describes an inner state: "{words}"',
        "show it by a face, a gesture or a posture",
        level="advice",
        why="feelings and thoughts cannot be drawn",
        source=ENHANCER,
    ),
    "P115": rule(
        "frame rate for calm",
        "fps {fps} is high for a film in which {calm} of {all} clips are calm",
        "use fps {low}–{high}: static shots and close-ups look as good, with fewer frames to render",
        level="advice",
        why="static shots and close-ups need only 15–24 frames a second",
        source=COMMUNITY,
    ),
    "P116": rule(
        "camera at odds",
        '{clip} moves the camera two ways at once: "{words}"',
        "give it one move, or state which comes first",
        level="advice",
        why="a camera that does two things at once does neither",
        source=GUIDE,
    ),
}
