"""The engines there are. A new one is a folder beside this file and a line in :data:`BUILT_IN`; one from another
package is an entry point of the group ``campaign.engines`` (``docs/extending.md``).
"""

from __future__ import annotations

from functools import cache

from actors import extensions
from actors.engines import Engine, EngineError
from actors.engines.llamacpp.engine import LlamaCpp
from actors.engines.openai.engine import OpenAi
from actors.engines.trtllm.engine import TrtLlm
from actors.engines.vllm.engine import Vllm

GROUP = "campaign.engines"
BUILT_IN: tuple[Engine, ...] = (
    LlamaCpp(),
    TrtLlm(),
    Vllm(),
    OpenAi(),
)


@cache
def engines() -> dict[str, Engine]:
    """By name. Raises ExtensionBroken for an entry point that cannot be loaded or takes a name that is taken."""
    return extensions.with_those_of(GROUP, {each.name: each for each in BUILT_IN})


def engine(name: str) -> Engine:
    """The engine called ``name``. Raises EngineError for a name that is none."""
    try:
        return engines()[name]
    except KeyError:
        raise EngineError(f"no engine is called {name!r}; there are: {', '.join(sorted(engines()))}") from None
