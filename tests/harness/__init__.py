"""Films, stores and servers on this machine, for all tests: the only module but `fakes` that tests import from.

film        a film in a folder with its store: write it, edit it, run a command on it, read what it made
data        a project file as data, and every leaf of it by its path
command     the command line, in this process or a separate one, and what it printed
media       small real files: pictures, sounds, videos
footage     videos as phones, cameras and editors write them
cuts        timelines as data, for the formats of editors
slates      slates that are copied instead of drawn
templates   templates that are read and rendered once for many plans
studio      films of tiny clips, built on fake servers by the real command
crashing    a process that dies, or a disk that refuses, at each of its writes
world       random programs of edits, losses and builds, and what holds after each
stage       every file that a command writes, found by tracing
machines    processes with odd environments, limits, terminals and clocks
campaign    the table of what campaigns tried
live        the real server that LTXFLOW_TEST_SERVER names
"""
