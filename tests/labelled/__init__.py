"""Labelled clips: pictures and sounds of known kinds, made and encoded as a server's are, to measure the checks with.

`catalogue` lists the clips with their labels, `pictures` paints stills, `moving` and `standing` turn stills into
clips, `cutting` jumps and darkens them, `sounds` gives them a track, `encode` writes the mp4, `score` judges the judge.
Everything follows from a clip's seed: the same clip on every machine, but for what the encoder's version changes.
"""
