"""The engines there are. A new one is a module beside this one and a line here."""

from __future__ import annotations

from actors.engines import Engine, EngineError
from actors.engines.llamacpp.engine import LlamaCpp
from actors.engines.trtllm import engine as trtllm
from actors.engines.trtllm.engine import TrtLlm
from actors.engines.vllm import engine as vllm
from actors.engines.vllm.engine import Vllm

ENGINES: dict[str, Engine] = {
    "llamacpp": LlamaCpp(),
    "trtllm": TrtLlm(),
    "vllm": Vllm(),
}

PROBES = {"trtllm": trtllm.PROBES, "vllm": vllm.PROBES}
"""What to ask an image's programs about themselves: fact to the commands that tell it, the first useful answer counts."""

CACHES: dict[str, dict[str, str]] = {"trtllm": trtllm.CACHE_VARIABLES, "vllm": vllm.CACHE_VARIABLES}
"""Variables that move an engine's compile caches to the folder that every arm sees; an engine that is not here has none."""


def engine(name: str) -> Engine:
    """The engine called ``name``. Raises EngineError for a name that is none."""
    try:
        return ENGINES[name]
    except KeyError:
        raise EngineError(f"no engine is called {name!r}; there are: {', '.join(sorted(ENGINES))}") from None
