"""NetHack as a scene graph: the only package that imports nle."""

from importlib.util import find_spec

INSTALL = "pip install --no-deps nle==1.3.0"
"""Command that installs NetHack; without its dependencies, as `requirements-nethack.txt` explains."""

if find_spec("nle") is None:
    raise ModuleNotFoundError(f"NetHack is not installed: {INSTALL} (or choose another environment by --env)")
