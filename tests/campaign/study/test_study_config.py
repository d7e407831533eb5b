"""A study's file: every phase is a campaign, and what is wrong is said with file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.config.loading import load as load_campaign
from campaign.config.yaml_nodes import ConfigError
from campaign.plan.preview import plain
from campaign.study import outlook
from campaign.study.asked import Choice
from campaign.study.config import Study, representative
from campaign.study.loading import campaign_in, load

CONFIGS = Path(__file__).parents[3] / "configs"
STUDY = f"""\
name: little
engine: llamacpp
models: [random-llama-8m, random-llama-15m-q8]
environments: [native-chroot, docker-baseline]
without: [gpu, ulimits.memlock]
workloads: [chat-short]
library: {CONFIGS}
phases:
  - {{name: 2A, phase: baseline, repetitions: 3}}
  - name: 2B
    phase: screening
    models: representative
    screen:
      design: pb12
      factors:
        net: docker-net-host
        seccomp: docker-seccomp-unconfined
  - {{name: 2C, phase: combination, repetitions: 4}}
  - {{name: 2D, phase: validation, repetitions: 5}}
margin_pct: 2
"""


def study(folder: Path, text: str = STUDY) -> Study:
    file = folder / "little.yaml"
    file.write_text(text)
    return load(file)


@pytest.fixture(scope="module")
def spark() -> Study:
    return load(CONFIGS / "campaigns" / "spark-study.yaml")


def test_each_phase_of_the_sparks_study_is_a_campaign(spark: Study) -> None:
    phases = [spark.campaign(phase.name) for phase in spark.phases]
    assert [it.name for it in phases] == [f"spark-study-{name}" for name in ("2a", "2b", "2c", "2d")]
    assert [it.phase for it in phases] == ["baseline", "screening", "combination", "validation"]
    assert {it.reference for it in phases} == {"native-chroot"}
    assert [len(it.models) for it in phases] == [9, 3, 3, 9]
    assert phases[1].runs == 3 * 2 * (16 + 1)
    assert [arm.name for arm in phases[3].environments] == ["native-chroot", "docker-baseline", "docker-optimized"]


def test_the_rows_of_a_screen_are_its_factors_options_and_nothing_else(spark: Study) -> None:
    campaign = spark.campaign("2B")
    assert campaign.screen is not None
    baseline = campaign.environment("docker-baseline")
    for name, row in campaign.screen.rows.items():
        arm = campaign.environment(name)
        high = {factor.name: x > 0 for factor, x in zip(campaign.screen.factors, row, strict=True)}
        assert (arm.ipc == "private") == high["ipc-private"]
        assert (arm.shm_size == "32g") == (high["ipc-private"] and high["shm-large"])
        assert (arm.network == "host") == high["net-host"]
        assert (arm.cpuset == "performance") == high["cpu-performance"]
        assert (arm.seccomp == "unconfined") == high["seccomp-unconfined"]
        assert (arm.cgroup_parent == "bench.slice") == high["cgroup-slice"]
        assert arm.ulimits == baseline.ulimits
    assert [name for name, row in campaign.screen.rows.items() if not any(x > 0 for x in row)] == ["docker-baseline"]


def test_with_few_factors_a_row_may_repeat_the_baseline_under_its_own_name(tmp_path: Path) -> None:
    campaign = study(tmp_path).campaign("2B")
    assert campaign.screen is not None
    low = [name for name, row in campaign.screen.rows.items() if row == (-1, -1)]
    assert low[-1] == "docker-baseline"
    assert len(low) == 3
    same = {"name", "description"}
    assert len({campaign.environment(name).model_dump_json(exclude=same) for name in low}) == 1


def test_what_an_option_sets_decides_whether_it_may_be_chosen(spark: Study) -> None:
    screen = spark.campaign("2B").screen
    assert screen is not None
    told = {factor.name: (factor.never, factor.privilege) for factor in screen.factors}
    assert told["ipc-private"] == ("ablation", 0)
    assert told["shm-large"] == ("needs_ipc_private", 0)
    assert told["net-host"] == (None, 1)
    assert told["seccomp-unconfined"] == (None, 2)
    assert told["cpu-performance"] == (None, 0)


def test_a_decision_makes_the_campaign_of_the_next_phase(tmp_path: Path) -> None:
    made = study(tmp_path)
    two = ("docker-net-host", "docker-seccomp-unconfined")
    arms = [arm.name for arm in made.campaign("2C", Choice(options=two)).environments]
    assert arms == ["native-chroot", "docker-baseline", *two, "docker-optimized"]
    best = made.campaign("2D", Choice(options=two[:1])).environment("docker-optimized")
    assert (best.network, best.seccomp) == ("host", "default")
    one = made.campaign("2C", Choice(models=("random-llama-8m",), options=two[:1]))
    assert [model.name for model in one.models] == ["random-llama-8m"]
    assert one.environments[-1].name == "docker-net-host"


def test_a_study_needs_a_margin_and_to_know_what_options_add_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="screening is decided by a margin, and none is declared"):
        study(tmp_path, STUDY.replace("margin_pct: 2\n", ""))
    two = STUDY.replace("docker-baseline]", "docker-baseline, docker-memory-unlimited]")
    with pytest.raises(ConfigError, match=r"several container arms .*Add `baseline: docker-baseline`"):
        study(tmp_path, two)
    named = study(tmp_path, two.replace("without:", "baseline: docker-memory-unlimited\nwithout:"))
    assert named.baseline() == "docker-memory-unlimited"
    validation = study(tmp_path).campaign("2D")
    assert (validation.baseline, validation.options) == ("docker-baseline", ("docker-optimized",))


def test_where_nothing_helps_the_baseline_runs_once_more(tmp_path: Path) -> None:
    again = study(tmp_path).campaign("2D", Choice(options=())).environments[-1]
    baseline = study(tmp_path).campaign("2D").environment("docker-baseline")
    assert again.name == "docker-baseline-again"
    same = {"name", "description"}
    assert again.model_dump(exclude=same) == baseline.model_dump(exclude=same)


def test_a_refused_factor_leaves_the_design_with_what_is_nested_in_it(spark: Study) -> None:
    screen = spark.campaign("2B", Choice(removed=("ipc-private",))).screen
    assert screen is not None
    assert [factor.name for factor in screen.factors] == [
        "net-host",
        "cpu-performance",
        "seccomp-unconfined",
        "cgroup-slice",
    ]


def test_representative_are_the_ends_and_the_middle_of_the_logarithms() -> None:
    assert representative({"b": 8.0, "a": 1.0, "c": 64.0, "d": 50.0}) == ("a", "b", "c")
    assert representative({"b": 8.0, "a": 1.0}) == ("a", "b")


def test_a_study_named_where_a_campaign_is_wanted_is_its_first_phase(tmp_path: Path) -> None:
    study(tmp_path)
    assert campaign_in(tmp_path / "little.yaml").name == "little-2a"
    assert campaign_in(tmp_path / "little.yaml", "2d").phase == "validation"


def test_the_plan_shows_both_screens_side_by_side(spark: Study) -> None:
    text = plain(outlook.describe(spark), 120)
    assert "one at a time (9)" in text
    assert "res4_16" in text
    assert "res4_16 *" in text
    assert "Main effects are clear of all pairs" in text
    assert "net-host (docker-net-host) matters for security: the host's network" in text


@pytest.mark.parametrize(
    ("old", "new", "key", "what", "remedy"),
    [
        ("phase: baseline,", "phase: base,", "phases[0].phase", "must be baseline, screening",
         "Did you mean 'baseline'?"),
        ("design: pb12", "design: pb13", "phases[1].screen.design", "must be one_at_a_time, pb12",
         "Did you mean 'pb12'?"),
        ("net: docker-net-host", "net: docker-net-hots", "environments", "no environment is called",
         "Did you mean 'docker-net-host'?"),
        ("net: docker-net-host", "net: docker-memory-unlimited", "factors.net", "cannot differ from docker-baseline",
         "Use it as `control:`."),
        ("net: docker-net-host", "net: docker-shm-32g", "factors.net", "cannot differ from docker-baseline",
         "nested_in"),
        ("net: docker-net-host", "net: {option: docker-net-host, nested_in: ipc}", "factors.net", "nested in 'ipc'",
         "Factors are net, seccomp."),
        ("net: docker-net-host\n", "", "factors", "1 factors, but pb12 takes 2 to 11", "one_at_a_time"),
        ("repetitions: 3}", "repetitions: 0}", "repetitions", "must be at least 1", "Use 1 or more"),
        ("name: 2C", "name: 2A", "phases[2]", "'2A' stands twice", "a name of its own"),
        ("repetitions: 4}", "repetitons: 4}", "phases[2].repetitons", "unknown key", "Did you mean 'repetitions'?"),
        ("phase: validation", "phase: baseline", "phases[3]", "a second baseline phase", "Keep one of each."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_key_and_remedy(
    tmp_path: Path, old: str, new: str, key: str, what: str, remedy: str
) -> None:
    assert old in STUDY
    with pytest.raises(ConfigError) as caught:
        study(tmp_path, STUDY.replace(old, new, 1))
    text = str(caught.value)
    assert "little.yaml:" in text
    assert key in text
    assert what in text
    assert remedy in text


def test_privileged_beside_seccomp_names_both(tmp_path: Path) -> None:
    text = STUDY.replace("net: docker-net-host", "all: docker-privileged") + "allow_privileged: true\n"
    with pytest.raises(ConfigError, match="all and seccomp: privileged contains seccomp: unconfined"):
        study(tmp_path, text)


def test_a_screen_belongs_into_a_phase(tmp_path: Path) -> None:
    head = STUDY.partition("phases:")[0]
    file = tmp_path / "one.yaml"
    file.write_text(head + "repetitions: 3\nscreen: {design: pb12, baseline: docker-baseline, factors: []}\n")
    with pytest.raises(ConfigError, match="screen: is a key of a phase"):
        load_campaign(file)
