"""ltxflow: make for films.

A film is a YAML file in git. `ltxflow build` renders only the clips whose prompt, seed, reference or settings
changed, and writes the `public/scenes/` tree that a player or a Remotion project uses.

Glossary. The film:

* **Project**: the checked, frozen content of `project.yaml`. **Scene**: an ordered run of clips under one narration.
  **Clip**: a prompt, a length and how it starts; the author writes its id.
* **Take**: one attempt at a clip (`hook/b@2`), with a separate seed. **Pick**: the take that is in the cut.
* **Counts**: a clip or reference counts once, by its take in the cut; each further take is a `more take`, and each
  image, clip or try of a seed that a server made is a render.
* **Reference**: the image that a clip starts from; a file, a frame of another clip, or generated and then with takes.
* **Profile**: a model as data. **Quality**: a named preset of a profile. **Animatic**: the film as slates of the exact
  length and size. **Stand-in**: a slate or a draft in the place of a final render. **State**: what is published of a
  clip, the best that exists: final, draft (the text in a preview quality), stale (an earlier text), slate.

The build:

* **Target**: the name of an output: `clip:hook/b@1`, `reference:hero@1`, `narration:hook@1`. **Node**: a vertex of the
  **build graph**, which makes one target. **Step**: the code for one kind of node.
* **Action**: all that determines an output, as plain JSON. **Key**: the sha256 of an action. **Digest**: of bytes.
* **Plan**: what a build would make, restore and keep, with reasons. **Memo**: a cached result under the digest of its
  inputs. **Executor**: what runs actions, here or on servers.
* **Store**: blobs by digest and traces by key. **Trace**: the record of one finished action. **gc root**: a key or
  digest that `cache gc` keeps. **Lease**: the hold of a running build on what it uses.
* **Lock**: `ltxflow.lock`, in git: takes, picks and decisions. **Project lock**: one writer at a time.
* **Journal**: what was submitted to which server. **Worker**: a server and its slots. **Attempt**: one submission.
* **Event**: progress of a build. **Timeline**: the published `timeline.json`. **Problem**: an error, warning or advice
  with its code, place and hint.

The map, in order; a module imports only from its own package or one before it (tests/test_order.py):
messages · core · media · documents · models · store · lock · comfy · workflow · project · steps · plan · session ·
publish · decisions · farm · build · export · ui · board · cli
"""

__version__ = "0.1.0"
