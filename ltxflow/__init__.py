"""ltxflow: make for films.

A film is a YAML file in git. `ltxflow build` renders only the clips whose prompt, seed, reference or settings
changed, and writes the `public/scenes/` tree that a player or a Remotion project uses.

The words, one each:

* **Project** – everything read from disk, checked and frozen. **Scene** – an ordered run of clips under one
  narration. **Clip** – the intent: a prompt, a length, how it starts; its id is written by the author.
* **Take** – one attempt at a clip (`hook/b@2`), with a seed of its own. **Pick** – the take that is in the cut.
* **Reference** – the image a clip starts from. **Profile** – a model as data. **Quality** – a named preset of a
  profile. **Animatic** – the stand-in that draws slates of the exact length and size.
* **Target** – what one types: `clip:hook/b@1`. **Node**, **Plan** – a vertex; the frozen graph.
* **Action** – all that determines an output, as plain JSON. **Key** – the sha256 of an Action; a **Digest** is of
  bytes.
* **Store** – blobs by digest and traces by key. **Trace** – what happened once. **Lock** – `ltxflow.lock`, in git.
  **Journal** – what was submitted where.
* **Event** – something that just happened. **Timeline** – the published `timeline.json`.

The map, in reading order; a module imports only from its own floor or one above it:
core · media · documents · models · store · lock · comfy · workflow · project · steps · plan · session · publish ·
decisions · farm · build · export · ui · cli
"""

__version__ = "0.1.0"
