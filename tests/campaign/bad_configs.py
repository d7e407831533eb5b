"""Wrong configs and what the user sees. One table: tested here, and fit for the documentation.

Each case starts from ``GOOD`` and replaces or adds lines, so that exactly one thing is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from campaign.config.loading import load
from campaign.config.yaml_nodes import ConfigError

GOOD = """\
name: example
engine: llamacpp
seed: 7
models: [small]
environments: [native-chroot, docker]
workloads: [chat]
repetitions: 4
gate:
  cooldown_s: 0
  ceiling_c: 45
"""

LIBRARY = {
    "models.yaml": """\
models:
  - name: small
    engines: [llamacpp]
    batch_size: 4
    random_weights: {layers: 2, hidden_size: 64, feed_forward_size: 128, heads: 4, kv_heads: 2}
  - name: large
    engines: [trtllm]
    huggingface_id: example/large
""",
    "environments.yaml": """\
native-chroot:
  kind: native-chroot
docker:
  kind: docker
  ipc: host
docker-privileged:
  extends: docker
  privileged: true
docker-private:
  extends: docker
  ipc: private
docker-shareable:
  extends: docker
  ipc: shareable
""",
    "workloads.yaml": """\
workloads:
  - {name: chat, requests: 8, input_tokens: 16, output_tokens: 16}
""",
}


@dataclass(frozen=True)
class Case:
    name: str
    text: str | bytes
    says: tuple[str, ...]
    """Fragments of the message. ``:12:`` is the line, and the key follows it."""
    library: dict[str, str] = field(default_factory=dict)
    """Library files that differ from ``LIBRARY``."""


def swap(line: str, new: str) -> str:
    """``GOOD`` with the line that begins with ``line`` replaced."""
    lines = GOOD.splitlines()
    at = next(i for i, text in enumerate(lines) if text.startswith(line))
    return "\n".join([*lines[:at], new, *lines[at + 1 :]]) + "\n"


CALIBRATED = """\
{"cooldown_s": 5, "was_s": 9, "saved_s": 4, "tolerance_c": 1, "apart_c": 0.1, "pilot": "p-pilot", "campaign_id": "1",
 "journal": "1:2",
 "after": [{"model": "small", "environment": "native-chroot", "rests": 4, "back_s": 4.5}]}
"""

ENV = "environments: [native-chroot, docker"

CASES = (
    # Keys
    Case("unknown key", GOOD + "repetition: 3\n",
        ("bad.yaml:11: repetition: unknown key", "Did you mean 'repetitions'?")),
    Case("unknown key far from any", GOOD + "wibble: 3\n", (":11: wibble: unknown key", "Keys here are name,")),
    Case("unknown nested key", swap("  cooldown_s", "  coldown_s: 5"),
        (":9: gate.coldown_s: unknown key", "'cooldown_s'?")),
    Case("missing name", swap("name", "# no name"), ("bad.yaml:2: name: is missing", "Add `name:")),
    Case("missing engine", swap("engine", ""), ("engine: is missing", "engine: llamacpp")),
    Case("missing models", swap("models", ""), ("models: is missing",)),
    Case("missing repetitions", swap("repetitions", ""), ("repetitions: is missing", "repetitions: 30")),
    Case("key twice", GOOD + "seed: 8\n", (":11: seed: stands twice, first in line 3", "Keep one")),
    Case("nested key twice", GOOD + "  cooldown_s: 1\n", (":11: gate.cooldown_s: stands twice, first in line 9",)),
    Case("key with the wrong case", GOOD + "Order: random\n", (":11: Order: unknown key", "'order'?")),
    # Types
    Case("text for a number", swap("seed", 'seed: "7"'),
        (":3: seed: must be a whole number, got the text '7'", "without quotes")),
    Case("word for a number", swap("repetitions", "repetitions: many"), (":7: repetitions: must be a whole number",)),
    Case("fraction for a whole number", swap("repetitions", "repetitions: 2.5"),
        (":7: repetitions: must be a whole number, got 2.5",)),
    Case("true for a number", swap("repetitions", "repetitions: true"),
        (":7: repetitions: must be a whole number, got true",)),
    Case("yes for true", GOOD + "allow_privileged: yes\n",
        (":11: allow_privileged: must be true or false, got the text 'yes'",)),
    Case("number for text", swap("name", "name: 12"), (":1: name: must be text, got 12", 'quotes: "12"')),
    Case("name for a list", swap("models", "models: small"),
        (":4: models: must be a list, got the text 'small'", "models: [NAME")),
    Case("list for a mapping", GOOD.partition("gate")[0] + "gate: [1]\n",
        (":8: gate: must be a mapping, got a list", "cooldown_s")),
    Case("number for a mapping", GOOD + "telemetry: 10\n", (":11: telemetry: must be a mapping, got 10", "rate_hz")),
    Case("nothing after a key", swap("engine", "engine:"), (":2: engine: must be", "got nothing")),
    Case("a list as the whole file", "- name: x\n", ("bad.yaml:1: must be a mapping, got a list",)),
    Case("a word as the whole file", "campaign\n", ("must be a mapping, got the text 'campaign'",)),
    # A calibrated rest
    Case("calibrated by nothing", swap("  cooldown_s", "  cooldown_s: calibrated"),
        (":9: gate.cooldown_s: is calibrated, and nothing says by what", "campaign pilot")),
    Case("calibration that is not there", swap("  cooldown_s", "  cooldown_s: calibrated\n  calibration: rest.json"),
        (":10: gate.calibration: there is no file 'rest.json'", "--rest")),
    Case("calibration beside seconds", GOOD + "  calibration: rest.json\n",
        (":11: gate.calibration: calibrates nothing",)),
    Case("calibration of other arms",
        swap("  cooldown_s", "  cooldown_s: calibrated\n  calibration: ../calibrated.json"),
        (":8: gate: the pilot p-pilot never rested after small in docker",), library={"calibrated.json": CALIBRATED}),
    # Ranges
    Case("negative cooldown", swap("  cooldown_s", "  cooldown_s: -5"),
        (":9: gate.cooldown_s: must be at least 0, got -5. Use 0 or more seconds.",)),
    Case("zero repetitions", swap("repetitions", "repetitions: 0"), (":7: repetitions: must be at least 1, got 0",)),
    Case("rate too high", GOOD + "telemetry: {rate_hz: 5000}\n", (":11: telemetry.rate_hz: must be at most 1000",)),
    Case("rate zero", GOOD + "telemetry: {rate_hz: 0}\n", (":11: telemetry.rate_hz: must be above 0",)),
    Case("not a number", swap("  cooldown_s", "  cooldown_s: .nan"),
        (":9: gate.cooldown_s: must be a finite number, got .nan",)),
    Case("infinite", swap("  cooldown_s", "  cooldown_s: .inf"), (":9: gate.cooldown_s: must be a finite number",)),
    Case("overflowing", swap("  cooldown_s", "  cooldown_s: 1e999"), (":9: gate.cooldown_s: must be a finite number",)),
    Case("huge integer", swap("seed", "seed: " + "9" * 60),
        (":3: seed: must be at most 2**63 - 1, got a number of 60 digits",)),
    Case("integer beyond Python", swap("seed", "seed: " + "9" * 6000), (":3: seed:", "6000 digits")),
    Case("too many repetitions", swap("repetitions", "repetitions: 10001"),
        (":7: repetitions: must be at most 10000",)),
    Case("cooldown of years", swap("  cooldown_s", "  cooldown_s: 1e9"),
        (":9: gate.cooldown_s: is more than 30 days",)),
    Case("percentage above 100", GOOD + "acceptance: {coverage_min_pct: 200}\n",
        (":11: acceptance.coverage_min_pct: must be at most 100",)),
    # Words
    Case("unknown engine", swap("engine", "engine: llamacp"),
        (":2: engine: must be llamacpp, trtllm, vllm or openai", "Did you mean 'llamacpp'?")),
    Case("unknown order", GOOD + "order: latin\n",
        (":11: order: must be alternate, williams or random, got the text 'latin'",)),
    Case("unknown nesting", GOOD + "nesting: inside\n", (":11: nesting: must be model or repetition",)),
    Case("unknown policy", swap("  ceiling_c", "  on_timeout: abort"),
        (":10: gate.on_timeout: must be pause, skip or flag",)),
    Case("name with spaces", swap("name", "name: My Campaign"),
        (":1: name: 'My Campaign' is not a name", "lower-case")),
    Case("name that leaves its folder", swap("name", "name: ../../etc"), (":1: name: '../../etc' is not a name",)),
    Case("name too long", swap("name", "name: " + "a" * 80), (":1: name: is 80 characters long", "at most 64")),
    # References
    Case("unknown model", swap("models", "models: [smal]"),
        (":4: models[0]: no model is called 'smal'", "Did you mean 'small'?")),
    Case("unknown environment", swap("environments", ENV + "-fast]"),
        (":5: environments[1]: no environment is called 'docker-fast'",)),
    Case("unknown workload", swap("workloads", "workloads: [talk]"),
        (":6: workloads[0]: no workload is called 'talk'", "workloads.yaml")),
    Case("number for a name", swap("models", "models: [3]"),
        (":4: models[0]: must be the name of one or a definition, got 3",)),
    Case("empty list of models", swap("models", "models: []"), (":4: models: must not be empty",)),
    Case("empty list of environments", swap("environments", "environments: []"),
        (":5: environments: must not be empty",)),
    Case("one environment twice", swap("environments", ENV + ", docker]"),
        (":5: environments[2]: 'docker' stands twice", "two cells would have one name")),
    Case("one model twice", swap("models", "models: [small, small]"), (":4: models[1]: 'small' stands twice",)),
    Case("one workload twice", swap("workloads", "workloads: [chat, chat]"),
        (":6: workloads[1]: 'chat' stands twice",)),
    Case("reference that does not take part", GOOD + "reference: native-host\n",
        (":11: reference: 'native-host' is not among the environments", "'native-chroot'?")),
    Case("model that the engine cannot run", swap("models", "models: [large]"),
        (":4: models[0]: large cannot run on llamacpp, only on trtllm",)),
    Case("repetitions of an unknown model", swap("repetitions", "repetitions: {small: 3, smaller: 3}"),
        (":7: repetitions.smaller: 'smaller' is not among the models",)),
    Case(
        "repetitions without a model",
        swap("models", "models: [small, {name: tiny, engines: [llamacpp], path: /x}]").replace(
            "repetitions: 4", "repetitions: {small: 3}"
        ),
        (":7: repetitions: says nothing of tiny",),
    ),
    Case("library that is not there", GOOD + "library: nowhere\n", (":11: library: no folder",)),
    # Environments
    Case("privileged without leave", swap("environments", ENV + "-privileged]"),
        (":5: environments[1]: docker-privileged is privileged", "allow_privileged: true")),
    Case(
        "shared memory for a native arm",
        swap("environments", ENV + ", {name: n, kind: native-host, shm_size: 8g}]"),
        (":5: environments[2].shm_size: native-host has no such namespace or cgroup",),
    ),
    Case(
        "privileged native arm",
        swap("environments", ENV + ", {name: n, extends: native-chroot, privileged: true}]") + "allow_privileged: "
            "true\n",
        ("environments[2].privileged: native-chroot has no such",),
    ),
    Case(
        "memory without a limit",
        swap("environments", ENV + ", {name: n, extends: docker, memory: unlimited}]"),
        ("environments[2].memory: 'unlimited' is not a size", "leave it out for no limit"),
    ),
    Case("shm_size as a number", swap("environments", ENV + ", {name: n, kind: docker, shm_size: 8}]"),
        ("environments[2].shm_size: must be text, got 8",)),
    Case("unknown limit", swap("environments", ENV + ", {name: n, kind: docker, ulimits: {memlok: 1}}]"),
        ("environments[2].ulimits.memlok: must be memlock,", "'memlock'?")),
    Case("cpuset backwards", swap("environments", ENV + ", {name: n, kind: docker, cpuset: 9-0}]"),
        ("environments[2].cpuset: '9-0' is not a list of CPUs",)),
    Case("extends nothing known", swap("environments", ENV + ", {name: n, extends: doker}]"),
        ("no environment is called 'doker'", "Did you mean 'docker'?")),
    Case("extends itself", swap("environments", ENV + ", {name: n, extends: n}]"), ("goes in a circle: n -> n",)),
    Case(
        "extends in a circle",
        swap("environments", "environments: [a]"),
        ("environments.yaml:2: b.extends: goes in a circle: a -> b -> a",),
        {"environments.yaml": "a: {extends: b}\nb: {extends: a}\n"},
    ),
    Case(
        "combination that disagrees",
        swap("environments", ENV + ", {name: n, extends: [docker-private, docker-shareable]}]"),
        (":5: environments[2]: docker-private and docker-shareable disagree on ipc", "Set ipc here"),
    ),
    Case("definition under a known name", swap("environments", ENV + ", {name: docker, kind: docker}]"),
        ("'docker' is already defined in", "environments.yaml:3")),
    Case("without an option nobody has", GOOD + "without: [gpu]\n", (":11: without[0]: no environment here sets gpu",)),
    Case("without an unknown option", GOOD + "without: [ulimit.memlock]\n",
        (":11: without[0]: 'ulimit' is not an option", "'ulimits'?")),
    Case("override of an unknown model", GOOD + "overrides: {smal: {requests: 4}}\n",
        (":11: overrides.smal: 'smal' is not among the models", "Did you mean 'small'?")),
    Case("override of an unknown key", GOOD + "overrides: {small: {request: 4}}\n",
        (":11: overrides.small.request: unknown key", "'requests'?")),
    Case("override out of range", GOOD + "overrides: {small: {requests: 0}}\n",
        (":11: overrides.small.requests: must be at least 1",)),
    Case("override that is no mapping", GOOD + "overrides: {small: 4}\n",
        (":11: overrides.small: must be a mapping, got 4",)),
    Case("overridden batch size out of range", GOOD + "overrides: {small: {batch_size: 99999999999}}\n",
        ("overrides.small.batch_size: must be at most",)),
    Case("model left out and run", GOOD + "left_out: {small: too large}\n",
        (":11: left_out.small: 'small' is among the models",)),
    Case("canary that is no flag", GOOD + "canary: sing\n",
        (":11: canary: must be true or false, got the text 'sing'",)),
    Case("unknown state of the page cache", swap("environments", ENV + ", {name: n, extends: docker, cache: cold}]"),
        ("environments[2].cache: must be drop, keep or warm",)),
    Case("a GPU for a process of this machine",
        swap("environments", ENV + ", {name: n, kind: native-host, gpu: {by: toolkit}}]"),
        ("environments[2].gpu: native-host has no such namespace",)),
    Case("gate that cannot open", swap("  ceiling_c", "  dwell_s: 60\n  timeout_s: 30"),
        (":10: gate.dwell_s: dwell_s of 60 s is not below timeout_s of 30 s",)),
    Case("floor above the ceiling", GOOD + "  floor_c: 50\n",
        (":11: gate.floor_c: must lie below ceiling_c, got 50 and 45",)),
    Case("image without a reference", GOOD + "image: {source: registry}\n",
        (":11: image: source registry needs a reference",)),
    Case("arm whose image has no reference",
        swap("environments", ENV + ", {name: n, extends: docker, image: {source: archive}}]"),
        ("environments[2].image: source archive needs a reference", "Add `reference: PATH`.")),
    Case("image for a process of this machine",
        swap("environments", ENV + ", {name: n, kind: native-host, image: {source: local}}]"),
        ("environments[2].image: native-host runs what is installed on this machine, not an image",)),
    Case("options for an unknown engine",
        swap("environments", ENV + ", {name: n, extends: docker, engine_options: {lamacpp: {threads: 2}}}]"),
        ("environments[2].engine_options.lamacpp: no engine is called 'lamacpp'", "Did you mean 'llamacpp'?")),
    Case("image taken out as if a host refused it",
        swap("environments", ENV + ", {name: n, extends: docker, image: {source: local}}]\nwithout: [image]"),
        ("without[0]: 'image' is not an option of an environment",)),
    # Files of the library
    Case("mistake in the library", GOOD, ("workloads.yaml:2: workloads[0].requests: must be at least 1, got 0",),
        {"workloads.yaml": "workloads:\n  - {name: chat, requests: 0, input_tokens: 1, output_tokens: 1}\n"}),
    Case("two entries of one name", GOOD, ("workloads.yaml:3: workloads[1]: 'chat' is defined twice, first in line 2",),
        {"workloads.yaml": LIBRARY["workloads.yaml"] + LIBRARY["workloads.yaml"].splitlines()[1] + "\n"}),
    Case("entry without a name", GOOD, ("workloads.yaml:2: workloads[0]: has no name",),
        {"workloads.yaml": "workloads:\n  - {requests: 1}\n"}),
    Case("heads that do not divide", GOOD,
        ("models.yaml:5: models[0].random_weights: hidden_size must be a multiple of heads",),
         {"models.yaml": LIBRARY["models.yaml"].replace("heads: 4,", "heads: 5,", 1)}),
    # YAML itself
    Case("tab", swap("  cooldown_s", "\tcooldown_s: 1"), ("bad.yaml:9: a tab where YAML wants spaces",)),
    Case("bracket left open", swap("models", "models: [small"), ("bad.yaml:5: not valid YAML",)),
    Case("colon forgotten", swap("seed", "seed 7"), ("bad.yaml:4: not valid YAML",)),
    Case("empty file", "", ("bad.yaml:1: is empty",)),
    Case("only a comment", "# nothing\n", ("bad.yaml:1: is empty",)),
    Case("two documents", GOOD + "---\n" + GOOD, ("more than one YAML document",)),
    Case("not UTF-8", GOOD.encode() + b"description: caf\xe9\n", ("bad.yaml:11: byte 0xe9 is not UTF-8",)),
    Case("binary", b"\x00\x01\x02", ("bad.yaml:1: a control character",)),
    Case("alias", "a: &a [x]\nb:\n  c: [*a]\n", ("bad.yaml:3: b.c[0]: an alias (*name)",)),
    Case("alias that contains itself", "a: &a [*a]\n", ("bad.yaml:1: a[0]: an alias",)),
    Case("nested without end", "a: " + "[" * 5000 + "]" * 5000 + "\n", ("nested deeper than 32 levels",)),
    Case("tag of another language", swap("name", "name: !!python/object/apply:os.getcwd []"), (":1: name",)),
    # Looks
    Case("looks that do not end with the repetitions", GOOD + "sequential: {looks: [5, 10]}\nmargin_pct: 1\n",
        (":11: sequential.looks: the last look is after 10 blocks, but small has 4 repetitions", "End it with 4")),
    Case("a screening without a baseline", GOOD + "phase: screening\n",
        (":11: phase: screening judges options against a baseline, and none is declared", "Add `baseline: docker`")),
    Case("a baseline that is no arm", GOOD + "baseline: dokcer\n",
        (":11: baseline: 'dokcer' is not among the environments", "Did you mean 'docker'?")),
    Case("a baseline that is the reference", GOOD + "baseline: native-chroot\n",
        (":11: baseline: 'native-chroot' is the reference already",)),
    Case("options of no baseline", GOOD + "options: [docker]\n", (":11: options: of no baseline", "Add `baseline:")),
    Case("a baseline that is its own option", GOOD + "baseline: docker\noptions: [docker]\n",
        (":12: options: 'docker' is the baseline, and no option of it", "Take it out")),
    Case("looks without a margin", swap("repetitions", "repetitions: 10") + "sequential: {looks: [5, 10]}\n",
        (":11: sequential: a look decides whether arms are equivalent, and no margin is declared",
         "Add `margin_pct: 1`")),
    Case("looks that do not increase",
        swap("repetitions", "repetitions: 10") + "sequential: {looks: [10, 5, 10]}\nmargin_pct: 1\n",
        (":11: sequential.looks: must increase, got [10, 5, 10]",)),
    Case("a look too early", GOOD + "sequential: {looks: [2, 4]}\nmargin_pct: 1\n",
        (":11: sequential.looks: the first look is after 2 blocks", "Use 5 or more")),
    Case("looks that run outliers again",
        swap("repetitions", "repetitions: 10") + "sequential: {looks: [5, 10]}\noutliers: rerun\nmargin_pct: 1\n",
        (":12: outliers: runs outliers again because of their values",)),
    Case("an unknown spending",
        swap("repetitions", "repetitions: 10") + "sequential: {looks: [5, 10], spending: all}\nmargin_pct: 1\n",
        (":11: sequential.spending: must be pocock, obrien_fleming or hsd",)),
    Case("hsd without gamma", swap("repetitions",
        "repetitions: 10") + "sequential: {looks: [5, 10], spending: hsd}\nmargin_pct: 1\n",
        (":11: sequential: hsd needs a gamma",)),
    Case("merge key", GOOD + "<<: {a: 1}\n", (":11: <<: unknown key",)),
)  # fmt: skip


def write(case: Case, folder: Path) -> Path:
    """Puts the case and its library into ``folder``; returns the campaign's file."""
    (folder / "campaigns").mkdir(parents=True, exist_ok=True)
    for name, text in {**LIBRARY, **case.library}.items():
        (folder / name).write_text(text)
    file = folder / "campaigns" / "bad.yaml"
    file.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    return file


def messages(folder: Path) -> Iterator[tuple[Case, str]]:
    """Each case and the message that the user sees, written as relative to ``folder``."""
    for i, case in enumerate(CASES):
        here = folder / str(i)
        try:
            load(write(case, here))
        except ConfigError as error:
            yield case, str(error).replace(f"{here}/", "configs/")
        else:
            yield case, "accepted"
