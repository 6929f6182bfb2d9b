"""A model as data: profiles, sizes, weights."""
