#!/usr/bin/env bash
# The wheel as users get it: built from this checkout, installed in a clean environment, used from an
# empty folder. An editable install would not show a file that the wheel lacks.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "wheel: $*" >&2
    exit 1
}

echo "wheel: build"
"$python" -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" wheel --no-deps --wheel-dir "$work/dist" "$root"
wheel=$(echo "$work"/dist/ltxflow-*.whl)

echo "wheel: what is in it"
"$python" - "$wheel" "$root" <<'PYTHON'
import pathlib, sys, zipfile

names = set(zipfile.ZipFile(sys.argv[1]).namelist())
root = pathlib.Path(sys.argv[2])
wanted = {
    f"ltxflow/data/{path.relative_to(root).as_posix()}"
    for folder in ("templates", "schemas")
    for path in (root / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
wanted |= {
    path.relative_to(root).as_posix()
    for path in (root / "ltxflow").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
missing = sorted(wanted - names)
extra = sorted(name for name in names - wanted if ".dist-info/" not in name)
if missing or extra:
    sys.exit(f"missing in the wheel: {missing}; not ours: {extra}")
if not any(name.endswith("licenses/LICENSE") for name in names):
    sys.exit("the wheel has no licence")
print(f"{len(names)} files")
PYTHON

echo "wheel: install"
"${pip[@]}" install "$wheel"

echo "wheel: use, from an empty folder"
mkdir "$work/empty"
cd "$work/empty"
export HOME="$work/home" LTXFLOW_STORE="$work/store"
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME PYTHONPATH
mkdir "$HOME"
ltxflow="$work/venv/bin/ltxflow"
home=$("$work/venv/bin/python" -c "import ltxflow, pathlib; print(pathlib.Path(ltxflow.__file__).parent)")
case "$home" in "$work"/*) ;; *) fail "this is not the installed one: $home" ;; esac

"$ltxflow" --version | grep -Eq '^ltxflow [0-9]' || fail "no version"
"$ltxflow" schema | grep -q '"title"' || fail "no schema"
"$ltxflow" init my-film > said
grep -q 'my-film/project.yaml' said || fail "init said: $(cat said)"
"$ltxflow" check --strict -p my-film || fail "a new film has something wrong with it"
"$ltxflow" plan --animatic -p my-film > said
# where this machine has a voice, the clip under the spoken line waits for it
grep -Eq 'Plan: (3 clips to create|2 clips to create, 1 clip maybe)' said || fail "plan said: $(cat said)"
"$ltxflow" show opening/a --graph -p my-film > graph.json
grep -q '"class_type"' graph.json || fail "no workflow"

cat > film.yaml <<'YAML'
ltxflow: 1
id: tiny
title: "Tiny"
size: 256x256
scenes:
  - id: hook
    narration: 3s
    clips:
      - id: a
        prompt: "A brass key turns in a heavy lock while dust drifts; the camera pushes in; metal clicks."
YAML
mkdir tiny && mv film.yaml tiny/project.yaml
"$ltxflow" build --animatic -p tiny > said
grep -q 'Built 1 clip: 1 drawn' said || fail "build said: $(cat said)"
test -s tiny/public/scenes/scene-0-a.mp4 || fail "no clip"
grep -q '"complete": true' tiny/public/scenes/timeline.json || fail "the timeline is not complete"
"$ltxflow" build --animatic -p tiny > said
grep -q 'Built 1 clip: 0 drawn, 1 up to date' said || fail "the second build said: $(cat said)"
"$ltxflow" export remotion tiny/remotion -p tiny > said
grep -q 'npm install' said || fail "export said: $(cat said)"
grep -q 'interface Timeline' tiny/remotion/src/timeline.ts || fail "the starter has no types"
"$ltxflow" report -p tiny > said
grep -q '1 slate' said || fail "report said: $(cat said)"
echo "wheel: good"
