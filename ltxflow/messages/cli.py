"""Rules of the command line: its words, its project, its output, and what the system refuses."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "U001": rule("a command exists", 'no command "{name}"', "run ltxflow --help to list the commands"),
    "U002": rule(
        "the arguments of a command are complete and valid",
        usage=Text("{message}"),
        missing=Text("{prog} needs {missing}", "write: {usage}{meaning}"),
        no_subcommand=Text("{prog}: missing subcommand", "choose from: {choices}"),
        not_a_number=Text('{argument} must be a whole number, not "{value}"', "write one such as 2"),
        no_choice=Text('{argument} does not accept "{value}"'),
        no_take_number=Text('no take number in "{take}"', "write: ltxflow pick {take}@2"),
        no_clip=Text("no clip given", "name clips, or pass --all-upgrades"),
        no_clips=Text("`cache {what}` applies to the whole store", "leave the clips out"),
        no_folder=Text("missing folder for the Remotion project", "write: ltxflow export remotion FOLDER"),
        no_typescript=Text('no TypeScript for the schema "{name}"', "write: ltxflow schema timeline --as typescript"),
        three_files=Text(
            "lock merge takes three files: BASE OURS THEIRS", "leave them out to resolve a conflict: ltxflow lock merge"
        ),
        one_template=Text("template show takes one template", "run `ltxflow template list` to list them"),
        one_file=Text(
            "template import takes one file",
            "save the workflow in ComfyUI, then run `ltxflow template import my_workflow.json`",
        ),
    ),
    "U003": rule("ltxflow has no bugs", "a bug in ltxflow: {error}", "report it"),
    "U004": rule(
        "a command runs to its end",
        "interrupted",
        "run the command again to continue; finished work is kept",
        before_build=Text("interrupted before the build began; nothing was changed", "start it again when you like"),
    ),
    "U005": rule(
        "the current folder exists", "the current folder was removed", "change to an existing directory: cd ~"
    ),
    "U006": rule(
        "the system allows what a command does",
        denied=Text('cannot use "{path}": {cause}', "change its permissions"),
        disk=Text('cannot use "{path}": {cause}', "check the disk, then run it again"),
        path=Text('cannot use "{path}": {cause}', "use another path"),
    ),
    "U007": rule(
        "standard output can be written",
        "cannot write the output: {cause}",
        "check where it goes, then run it again; finished work is kept",
    ),
    "U008": rule(
        "the clock is right", "the clock of this machine is centuries ahead", "set it, e.g. timedatectl set-ntp true"
    ),
    "U010": rule(
        "a name on the command line is one of the film",
        clip=Text('no clip "{name}"', "choose from: {names}"),
        reference=Text('no generated reference "{name}"', "choose from: {names}"),
        angle=Text('"{path}" itself is not generated, only its angles', "choose from: {names}"),
    ),
    "U011": rule(
        "--set names a setting and a valid value",
        unknown=Text('--set {pair}: no setting "{name}"'),
        no_value=Text("--set {pair}: missing value", "write: --set {name}=VALUE"),
        not_a_number=Text('--set {name}: "{value}" is not a number', "write: --set {name}=NUMBER"),
        not_boolean=Text('--set {name}: "{value}" is neither true nor false', "write: --set {name}=true"),
    ),
    "U012": rule(
        "show is about one clip, and a workflow about a rendered one",
        several=Text('"{selector}" matches several clips', "choose one: {names}"),
        no_workflow=Text(
            "{reference} has no workflow: the engine {engine} makes it", "leave out --graph to see its prompt"
        ),
    ),
    "U013": rule("a rule exists", 'no rule "{code}"', "run `ltxflow rules` to list them"),
    "U014": rule(
        "options of one command line agree",
        animatic_references=Text("--animatic draws clips only, never references", "leave out --animatic, or --only"),
    ),
    "U015": rule(
        "a script is text",
        encoding=Text("the script is not UTF-8 from this line on", "save it as UTF-8"),
        binary=Text("the script is not text", "export it as Fountain, Markdown or plain text"),
        large=Text("the script is larger than {most} MB", "split it into several films"),
        missing=Text('no file "{file}"', "name a script: ltxflow init my-film --from script.md"),
    ),
    "U016": rule(
        "a script has scenes",
        empty=Text("the script has no scenes", "write headings, or blocks of text with blank lines between them"),
        many=Text("the script has {count} scenes, more than {most}", "split it into several films"),
    ),
    "U017": rule(
        "frame saves a picture of a clip that is made",
        format=Text('"{file}" is neither a .png nor a .jpg', "write such as --out frame.png"),
        none=Text(
            "take {take} of {clip} is not here: it is not rendered, or its files are elsewhere",
            "render it: {build}; or draw its slate: {build} --animatic",
        ),
        time=Text("--at: {reason}"),
        end=Text(
            "{at} is past the end of {clip}: it has {frames} frames, {seconds} s", "write an earlier time, or last"
        ),
    ),
    "U018": rule(
        "a command has the libraries of its extra",
        "`ltxflow {command}` needs {names}, which this installation lacks",
        "get the extra: {install}",
    ),
    "U019": rule(
        "an agent asks for what a tool can do",
        why="its arguments come from a model: none is ever an option, a server or a path out of the workspace",
        form=Text('{name}: "{value}" is not {wanted}', "write such as {example}"),
        long=Text("{name} is longer than {most} characters", "shorten it"),
        many=Text("{name}: more than {most} selectors", "name scenes, or use a glob"),
        outside=Text('{name}: "{value}" leads out of the workspace {workspace}', "name a folder inside it"),
        crashed=Text(
            "`ltxflow {verb}` ended with code {code} and no answer{detail}", "try again, and report it if it recurs"
        ),
        large=Text("the picture is larger than {most} MB", "choose a smaller size"),
    ),
    "U020": rule("init overwrites no project", '"{file}" already exists', "edit it, or choose another folder"),
    "U021": rule(
        "a file on the command line exists",
        pin=Text('no file "{file}"', "give the path of an mp4, or of an image for a reference"),
        merge=Text('no file "{file}"', "let git name the files: ltxflow lock merge %O %A %B"),
    ),
    "U022": rule(
        "cache gc --give-up names a film whose folder is gone",
        unknown=Text('the store has no film in "{folder}"', "choose from: {known}"),
        present=Text('the film in "{folder}" still exists', "give up only films whose folder was deleted"),
    ),
    "U023": rule(
        "the store knows its films before it removes renders",
        "the store knows no films, so any render may be needed",
        "run `ltxflow build` once in each film that uses it, then again",
    ),
    "U024": rule(
        "lock merge has a conflict to resolve",
        'git has no conflict in "{file}"',
        "run it after a merge that ended in a conflict",
    ),
    "U025": rule(
        "a file of the checkout is readable text",
        encoding=Text('"{file}" is not UTF-8', "save it as UTF-8"),
        unreadable=Text('cannot read "{file}": {cause}'),
    ),
    "U027": rule("a template exists", 'no template "{name}" for {profile}', "choose from: {names}"),
    "U028": rule(
        "the size of the film reaches an imported workflow",
        fixed_size=Text(
            "the film is {wanted}, but this workflow always makes {makes}",
            "set the size of the workflow to that of the film, then import it again",
        ),
        no_crop=Text(
            "the film is {wanted}, but this workflow makes {makes} and crops nothing",
            "add an ImageCrop after its decoder and import it again, or give the film a size that is sampled",
        ),
        level="warning",
    ),
    "N102": rule(
        "a class outside the core set is allowed by the user",
        imported=Text(
            "it uses custom nodes you have not allowed: {nodes}",
            "if you trust them, write in {file}:  allowed_nodes: {allowed}",
        ),
    ),
    "T024": rule(
        "an imported template has a valid, free name",
        invalid=Text(
            'invalid template name "{name}"',
            "use letters, digits and hyphens: ltxflow template import FILE --name my-look",
        ),
        exists=Text(
            'template "{name}" already exists: {file}', "pass --force to replace it, or --name for another name"
        ),
        built_in=Text(
            '"{name}" is a template of {profile}',
            "pass --name for another name, or --force to use yours for every clip of {name}",
        ),
    ),
    "U066": rule(
        "`pull` renders nothing",
        "{target} is not in the shared store",
        "ask who rendered it to run `ltxflow cache push`, or render it with `ltxflow build`",
    ),
    "U067": rule(
        "a shared store is configured",
        "no shared store is configured",
        "write `remote: https://host/path` in your config; see `ltxflow doctor` for its place",
    ),
}
