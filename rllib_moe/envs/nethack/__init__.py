"""NetHack as a scene graph: the only package that imports nle."""
