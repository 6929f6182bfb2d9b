"""Print a script with which your shell completes commands, options, clips, scenes, tags and takes.

bash: eval "$(ltxflow completion bash)" in ~/.bashrc
zsh:  eval "$(ltxflow completion zsh)"  in ~/.zshrc, after compinit
fish: ltxflow completion fish | source  in ~/.config/fish/config.fish
"""

from __future__ import annotations

import argparse

from ltxflow.ui.terminal import Console, print_envelope

SCRIPTS = {
    "bash": """\
# ltxflow: completion for bash. In ~/.bashrc:  eval "$(ltxflow completion bash)"
_ltxflow() {
    local found
    mapfile -t found < <(ltxflow __complete "$COMP_WORDBREAKS" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=()
    local each
    for each in "${found[@]}"; do
        if [[ $each == :files ]]; then
            compopt -o filenames
            local word=${COMP_WORDS[COMP_CWORD]}
            mapfile -O "${#COMPREPLY[@]}" -t COMPREPLY < <(compgen -f -- "$word")
        else
            COMPREPLY+=("$each")
        fi
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F _ltxflow ltxflow
""",
    "zsh": """\
#compdef ltxflow
# ltxflow: completion for zsh. In ~/.zshrc, after compinit:  eval "$(ltxflow completion zsh)"
_ltxflow() {
    local -a found
    found=("${(@f)$(ltxflow __complete '' "$LBUFFER" 2>/dev/null)}")
    if (( ${found[(Ie):files]} )); then
        found=("${(@)found:#:files}")
        _files
    fi
    found=("${(@)found:#}")
    local -a open whole
    open=("${(@M)found:#*[=:]}")
    whole=("${(@)found:#*[=:]}")
    (( ${#open} )) && compadd -V names -S '' -- "${open[@]}"
    (( ${#whole} )) && compadd -V names -- "${whole[@]}"
}
compdef _ltxflow ltxflow
""",
    "fish": """\
# ltxflow: completion for fish. In ~/.config/fish/config.fish:  ltxflow completion fish | source
function __ltxflow_complete
    set -l found (ltxflow __complete '' (commandline --cut-at-cursor) 2>/dev/null)
    for each in $found
        if test "$each" = ":files"
            __fish_complete_path (commandline --current-token --cut-at-cursor)
        else
            echo $each
        end
    end
end
complete --command ltxflow --no-files --keep-order --arguments '(__ltxflow_complete)'
""",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=list(SCRIPTS), metavar="SHELL", help="bash, zsh or fish")


def run(args: argparse.Namespace, console: Console) -> int:
    # the scripts run `ltxflow __complete` at every press of the key, and contain no names themselves
    if args.json:
        return print_envelope("completion", {"shell": args.shell, "script": SCRIPTS[args.shell]}, 0)
    console.say(SCRIPTS[args.shell].rstrip())
    return 0
