"""Messages of ltxflow/media: files (M), checks of clips (Q), speech and image engines (S)."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

AGAIN = "download or render it again"
SOUND = "give a sound file: wav, flac, mp3, ogg, opus or m4a"
IMAGE = "save it as png, jpeg, webp, avif or tiff"
VIDEO = "give an mp4, mov, mkv or webm with a picture track"

MODEL_GUIDE = "Lightricks LTX-2 README and prompting guide"
FREEZE = "Lightricks/LTX-2 issue 11, image-to-video that freezes"
FFMPEG = "FFmpeg filters: freezedetect, blackdetect, silencedetect"
BT1359 = "ITU-R BT.1359: sound 45 ms early or 125 ms late is noticed"
EDITING = "editing practice"
MOVE = "describe motion, try a camera or motion LoRA, or lower the image strength (0.6–0.7)"
TEMPLATE = "change what the template saves: it decides that, not the seed"

_FILES: Mapping[str, Rule] = {
    "M001": rule(
        "a media file exists and can be read",
        sound=Text('no sound file "{name}"', "check the path"),
        video=Text('no video "{name}"', "check the path"),
        picture=Text('no picture "{name}"', "check the path"),
        system=Text('cannot read "{name}": {reason}', "check its permissions"),
    ),
    "M002": rule(
        "a media file has a format that is read",
        sound=Text('"{name}" cannot be read as sound', SOUND),
        run_together=Text(
            '"{name}" has {count} sounds run together: players stop at the end of the first',
            "export it again as one sound",
        ),
        rate=Text('"{name}" changes its sample rate midway', "export it again, as wav"),
        too_large=Text('"{name}" is larger than {size} GB', "export its sound alone, of at most an hour"),
        too_long=Text('"{name}" is longer than an hour', SOUND),
        video=Text('"{name}" is damaged, or not a video', VIDEO),
        folder=Text('"{name}" is a folder, not a picture', "name a picture file"),
        svg=Text('"{name}" is an svg drawing', "export it as png"),
        heic=Text(
            '"{name}" is a heic picture', "save it as jpeg or png; phones do so when set to the most compatible format"
        ),
        raw=Text('"{name}" is a raw photograph', "develop it, and export it as jpeg or png"),
        page=Text(
            '"{name}" is a web page, not a picture', "open it: the server answered with a message instead of the file"
        ),
        picture=Text('"{name}" is not a picture in a known format', IMAGE),
    ),
    "M003": rule(
        "a media file has content",
        file=Text('"{name}" is empty', AGAIN),
        sound=Text('"{name}" is silent: it holds no samples', SOUND),
        voice=Text('"{name}" holds no samples', SOUND),
        picture=Text('"{name}" is empty', "copy or export it again"),
    ),
    "M004": rule(
        "a media file is intact",
        video=Text('"{name}" does not decode: it is damaged or not a video', AGAIN),
        part=Text(
            '"{name}" does not decode where it is needed',
            "export it again; `ffmpeg -v error -i FILE -f null -` shows where it breaks",
        ),
        index=Text('"{name}" is damaged: {reason}', AGAIN),
        picture=Text('"{name}" is damaged or cut short: {reason}', "copy or export it again"),
        convert=Text('"{name}" cannot be converted to mp4: {reason}', AGAIN),
    ),
    "M005": rule("a video is complete", '"{name}" is cut short: {reason}', AGAIN),
    "M006": rule(
        "a video has a picture track",
        none=Text('"{name}" has no picture', VIDEO),
        again=Text('"{name}" has no picture', AGAIN),
        mp4=Text('"{name}" has no picture', "give an mp4 with a picture track"),
        size=Text('"{name}" has pictures without a size', "give an mp4 with a picture track"),
    ),
    "M007": rule(
        "a sound file has a sound track that is read",
        none=Text('"{name}" has no sound track', SOUND),
        codec=Text('"{name}" has sound in an unknown codec', SOUND),
    ),
    "M008": rule(
        "a video has frames",
        none=Text('"{name}" has no frames', AGAIN),
        mp4=Text('"{name}" has no frames', "give an mp4 with a picture track"),
    ),
    "M009": rule(
        "a frame that is used exists",
        past_end=Text('"{name}" has no frame {frame}: it ends after {count}', "number frames from 0"),
        none=Text('"{name}" has no frame {frame}', "number frames from 0"),
        segment=Text('"{name}" has no frame {frame}', AGAIN),
    ),
    "M010": rule("a clip is an mp4", '"{name}" is not an mp4 file', "give an mp4"),
    "M011": rule(
        "an mp4 is written in one piece",
        '"{name}" is a fragmented mp4, made for streaming',
        "write it as one piece: ffmpeg -i {name} -c copy -movflags +faststart whole.mp4",
    ),
    "M012": rule(
        "an mp4 shows all of its frames",
        '"{name}" holds {frames} frames and shows {shown} of them (edit list)',
        "export it again as a plain mp4",
    ),
    "M013": rule(
        "a picture or video is not too large",
        megapixels=Text(
            '"{name}" has {megapixels} megapixels; at most {most} are read',
            "save it smaller; a frame needs two at most",
        ),
        side=Text(
            '"{name}" is {width}x{height} px; at most {most} px a side are read', "crop it to the part that is shown"
        ),
        video=Text('"{name}" is too large: {size}', "export it smaller"),
    ),
    "M014": rule("a video is not too long", '"{name}" has more than {most:,} frames', "cut out the part that is used"),
    "M015": rule(
        "a video is as long as the part that a clip uses",
        '"{name}" lasts {seconds:.2f} s, and {frames} frames of it are needed',
        "give a longer video",
    ),
    "M016": rule(
        "a clip continues a video",
        '"{name}" is a picture, not a video',
        "start the clip from it instead, with reference:",
    ),
    "M017": rule("a video has a codec that is read", '"{name}" has pictures in an unknown codec', VIDEO),
    "M018": rule(
        "a reference stays the same during a build",
        '"{name}" changed while the film was being built',
        "build again to use its present content",
    ),
    "M019": rule(
        "a film can be encoded",
        write=Text('cannot write "{name}": {reason}', "check the disk and the codecs with `ltxflow doctor`"),
        slate=Text('cannot write the slate "{name}": {reason}', "check the disk and the codecs with `ltxflow doctor`"),
        differs=Text('"{name}" is encoded differently from the part before it', "build the film again"),
    ),
    "M020": rule("a WAV is complete", '"{name}" {reason}', "make it again: the program or server broke off"),
    "M021": rule(
        "a slate has an even size", 'a slate cannot have the size "{size}"', "give even numbers of at least {least} px"
    ),
    "M022": rule(
        "a slate has a length",
        "a slate cannot have {frames} frames at {fps} fps",
        "give at least one frame, and a rate above 0",
    ),
    "M023": rule(
        "a frame of a slate shows one number",
        "the frame number is ambiguous: two slates are mixed",
        "read a frame outside the dissolve",
    ),
    "M024": rule("a frame of a slate shows its number", "the picture has no frame number", "give a frame of a slate"),
    "M025": rule(
        "a video file is a video",
        '"{name}" is {kind}, not a video',
        "open it: the server answered with a message instead of the file",
    ),
    "M026": rule(
        "a picture or video that is imported contains a workflow",
        none=Text(
            '"{name}" contains no workflow',
            "ask for the workflow's file: servers started with --disable-metadata write none, and many sites strip it",
        ),
        unreadable=Text('cannot read "{name}": {reason}', "check that the file is complete"),
    ),
    "M027": rule(
        "the machine can draw the letters of a text",
        shaping=Text(
            "letters that join or run from right to left cannot be drawn on this machine", "apt install libfribidi0"
        ),
        font=Text('no font on this machine has "{letters}"', "apt install {package}"),
        level="warning",
    ),
    "M028": rule(
        "a transparent video is one whose transparency is read",
        '"{name}" is a transparent WebM, whose transparency is not read',
        "export it opaque, or as ProRes 4444",
    ),
}

_CHECKS: Mapping[str, Rule] = {
    "Q101": rule(
        "frozen picture",
        whole=Text("the picture is frozen for {seconds:.2f} s from {start:.2f} s on", MOVE),
        part=Text("the picture is frozen for {seconds:.2f} s from {start:.2f} s on; {share:.0%} of the clip is", MOVE),
        level="warning",
        why="the most common failure of LTX clips",
        source=FREEZE,
        check="frozen",
        seed="tried",
    ),
    "Q102": rule(
        "black picture",
        "the picture is black for {seconds:.2f} s from {start:.2f} s on",
        "describe the first frame in the prompt, or try another seed",
        level="warning",
        why="a hole in the film",
        source=FFMPEG,
        check="black",
        seed="tried",
    ),
    "Q103": rule(
        "hardly any motion",
        "hardly anything moves: motion {motion:.2f}, lively is 1",
        MOVE,
        level="advice",
        why="a still with sound is seldom intended",
        source=MODEL_GUIDE,
        check="motion",
        seed="no help",
    ),
    "Q104": rule(
        "cut inside",
        "the picture jumps at {places}",
        "ask for one shot; leave out cuts, times and changes of place, or try another seed",
        level="warning",
        why="a clip is one shot; the model jumped to another",
        source=MODEL_GUIDE,
        check="cut",
        seed="tried",
    ),
    "Q105": rule(
        "no sound track",
        "it has no sound track",
        "use a template that makes sound, or allow it with checks: {{sound: false}}",
        level="warning",
        why="the model makes sound with pictures",
        source=MODEL_GUIDE,
        check="sound",
        seed="no help",
    ),
    "Q106": rule(
        "silent sound",
        "the sound is silent: {loudness:.0f} dBFS",
        "describe the sound in the prompt, or try another seed",
        level="warning",
        why="there is a track, and nothing on it",
        source=FFMPEG,
        check="silent",
        seed="tried",
    ),
    "Q107": rule(
        "long silence",
        "the sound is silent for {seconds:.2f} s from {start:.2f} s on",
        "describe the sound in the prompt, or allow it with checks: {{silence: false}}",
        level="advice",
        why="sound that stops seems a fault",
        source=FFMPEG,
        check="silence",
        seed="no help",
    ),
    "Q108": rule(
        "clipped sound",
        "the sound is clipped: {share:.1%} of it at full scale, peak {peak:+.1f} dBFS",
        "a lower gain does not restore it: try another seed",
        level="warning",
        why="tops that are cut off crackle",
        source=EDITING,
        check="clipped",
        seed="may help",
    ),
    "Q109": rule(
        "sound of another length",
        begins=Text(
            "the sound begins {seconds:.2f} s {side} the picture",
            "give both the same length and rate in the template",
        ),
        ends=Text(
            "the sound ends {seconds:.2f} s {side} the picture, which has {picture:.2f} s",
            "give both the same length and rate in the template",
        ),
        level="warning",
        why="what follows is out of step",
        source=BT1359,
        check="sync",
        seed="no help",
    ),
    "Q110": rule(
        "same as another take",
        "the same as {other}: {percent} % alike",
        "forget one of them, or give it another seed",
        level="warning",
        why="equal takes leave no choice",
        source=EDITING,
        check="duplicate",
        seed="may help",
    ),
    "Q111": rule(
        "another size",
        "it is {width}x{height}, not {wanted}",
        TEMPLATE,
        level="warning",
        why="it is scaled in the cut",
        source=EDITING,
        check="size",
        seed="no help",
    ),
    "Q112": rule(
        "another frame rate",
        "it has {fps:g} frames a second, not {wanted:g}",
        TEMPLATE,
        level="warning",
        why="the cut doubles or drops frames",
        source=EDITING,
        check="rate",
        seed="no help",
    ),
    "Q113": rule(
        "another length",
        "it has {frames} frames, not {wanted}",
        TEMPLATE,
        level="warning",
        why="the cut ends early, or is cut off",
        source=EDITING,
        check="length",
        seed="no help",
    ),
}

# Texts without a hint get one where a build or `ltxflow narrate` reports them: what becomes of the scene.
_ENGINES: Mapping[str, Rule] = {
    "S200": rule("an engine can be used on this machine", "{engine}: {reason}"),
    "S201": rule(
        "an engine makes a sound of each line",
        nothing=Text('{engine}: made no sound of "{text}"', "check that it speaks this language, or write other words"),
        too_large=Text("{engine}: made {size} MiB of one line", "split the line"),
        unusable=Text('{engine}: made no sound of "{text}": {reason}', "check that it speaks this language"),
        broke_off=Text('{engine}: broke off in "{text}": {reason}', "run `ltxflow narrate` again"),
    ),
    "S202": rule(
        "an engine's program runs",
        no_start=Text('{engine}: "{program}" does not start: {reason}', "install it, or correct its entry"),
        timeout=Text(
            "{engine}: does not come to an end: {seconds:g} s for one line",
            "give it more time, such as timeout: 5m in its entry, or a shorter line",
        ),
        failed=Text(
            '{engine}: "{program}" failed with exit code {exit}{complaint}', "run its command by hand to see why"
        ),
        no_file=Text('{engine}: "{program}" wrote no sound', "make it write the file that {{out}} names"),
    ),
    "S203": rule(
        "an engine has the voice that is named",
        unknown=Text('{engine}: no voice "{voice}"', "use one of: {voices}"),
        espeak=Text('{engine}: no voice "{voice}"', "choose one of `espeak-ng --voices`"),
        absent=Text(
            '{engine}: the voice "{voice}" is not on this machine',
            'fetch it once with: hibari --voice {voice} -o hello.wav "Hello."',
        ),
    ),
    "S204": rule(
        "an engine's server answers with a sound or an image",
        no_sound=Text("{engine}: {server} sends no sound: {reason}", "check the model and the voice in its entry"),
        no_image=Text("{engine}: {server} sends no image: {reason}", "check the model in its entry"),
        address=Text(
            "{engine}: {server} sends an address in place of an image",
            "use a server that sends the picture itself: response_format b64_json",
        ),
        too_large=Text("{engine}: {server} sends more than {size} MiB for one {kind}", "check the url in its entry"),
        key=Text(
            '{engine}: the variable "{variable}" holds characters that no header can carry', "use printable ASCII only"
        ),
        timeout=Text(
            "{engine}: {server} does not answer within {seconds:g} s",
            "give it more time, such as timeout: 5m in its entry",
        ),
        connection=Text("{engine}: {server}: {reason}", "check that the server is running"),
        request=Text("{engine}: {server}: {reason}", "check the url in its entry"),
        redirect=Text("{engine}: {server} redirects to {target}", "write that address in its entry, if it is right"),
        status=Text("{engine}: {server} answers {status}{reason}", "check its entry, and the server's log"),
    ),
}

RULES: Mapping[str, Rule] = {**_FILES, **_CHECKS, **_ENGINES}

# What an engine answers when it cannot be used on this machine: reasons of S200.
UNAVAILABLE: Mapping[str, str] = {
    "missing": "it is not among your engines: name it under engines: in your configuration",
    "command": 'no program "{program}"',
    "espeak": "espeak-ng is not installed: apt install espeak-ng, or brew install espeak-ng",
    "hibari": "hibari is not installed: {command}",
    "url": "its entry has no url",
    "key": 'the variable "{variable}" for its key is not set',
}
