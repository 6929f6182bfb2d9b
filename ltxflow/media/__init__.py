"""Read, draw and encode pictures and sound: the only users of PyAV, Pillow and numpy."""
