"""Which limits and processors of a native arm this host refuses,
found out by starting a process that does nothing with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from actors.environments import EnvironmentError_, Kind, OptionRefused, nothing, refusals
from actors.environments.docker.once import TRIAL_S
from actors.types import Environment, ImageIdentity, Launch


def refused(
    kind: Kind, spec: Environment, image: ImageIdentity | None, home: Path, gpu_uuid: str | None
) -> dict[str, str]:
    """See :class:`actors.environments.Kind`. Takes away one refused rlimit or CPU list after the other,
    so that all are named."""
    found: dict[str, str] = {}
    labels = {"campaign": "trial", "run": spec.name, "attempt": "0"}
    handed = image if kind.needs_image else None
    expected, programs = nothing.nothings(handed)
    while True:
        with tempfile.TemporaryDirectory(prefix="campaign-trial-") as folder:
            try:
                process = kind.arm(spec, home, gpu_uuid).create(Launch(argv=programs[0]), labels, Path(folder), image)
            except OptionRefused as error:
                if error.option == "argv" and len(programs) > 1:
                    programs.pop(0)
                    continue
                found["environment" if error.option in ("", "argv") else error.option] = error.why
                lighter = _without(spec, error.option)
                if lighter is None:
                    return found
                spec = lighter
                continue
            try:
                process.start()
                ended = process.wait(TRIAL_S)
            except EnvironmentError_ as error:
                reference = image.reference if image else "IMAGE"
                return found | {"environment": refusals.told(str(error), reference)}
            finally:
                process.close()
            code = None if ended is None else ended.code
            if code in nothing.NOT_FOUND and len(programs) > 1:
                programs.pop(0)
                continue
            if code != expected:
                said = Path(folder, "stderr.log").read_text(errors="replace")
                found["environment"] = nothing.ended(handed, programs[0], code, said)
            return found


def _without(spec: Environment, option: str) -> Environment | None:
    name = option.partition(".")[2]
    if option.startswith("ulimits.") and name in spec.ulimits:
        rest = {key: value for key, value in spec.ulimits.items() if key != name}
        return spec.model_copy(update={"ulimits": rest})
    if option in ("cpuset", "user") and getattr(spec, option) is not None:
        return spec.model_copy(update={option: None})
    return None
