"""Serve a local page of the film as it is and grows: storyboard, player, takes, prompts, plan.

hub        messages to open pages, each with a number, replayed after a reload
live       the running build, from here or elsewhere, folded from its events
film       the film as plain data; decisions and edits of a page: the only module that knows how a film is opened
editing    a prompt replaced at its place in a YAML file
drawings   SVG: the strip under a scene, the plan's graph, where the time went
jobs       actions of a page that are commands, each as a separate process
pages      Jinja templates
security   who may ask, and from where
state      what pages show, and when they get it
server     routes
"""
