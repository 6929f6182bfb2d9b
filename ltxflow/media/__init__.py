"""Pictures and sound: the only users of PyAV and Pillow."""
