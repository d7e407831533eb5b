"""A wrong config is refused with everything that is wrong in it; a right one means the same however it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from actors.types import Environment, Model, Workload
from campaign.config.library import definitions
from campaign.config.loading import load
from campaign.config.schema import Campaign
from campaign.config.words import validated
from campaign.config.yaml_nodes import ConfigError, Problem, read
from campaign.study.loading import campaign_in
from tests.campaign.bad_configs import CASES, GOOD, LIBRARY, Case, messages, swap, write

CONFIGS = Path(__file__).parents[3] / "configs"


def resolved(text: str, folder: Path, library: dict[str, str] | None = None) -> Campaign:
    return load(write(Case("", text, (), library or {}), folder))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_config_gets_one_clear_message(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(case, tmp_path))
    message = str(caught.value)
    for fragment in case.says:
        assert fragment in message
    assert len(message.splitlines()) == 1, message
    assert "Traceback" not in message


def test_every_case_appears_in_the_table_for_the_documentation(tmp_path: Path) -> None:
    table = list(messages(tmp_path))
    assert len(table) == len(CASES) >= 35
    assert all(message.startswith("configs/") for _, message in table)


def test_all_mistakes_of_a_file_are_reported_together(tmp_path: Path) -> None:
    text = GOOD.replace("cooldown_s: 0", "cooldown_s: -1").replace("repetitions: 4", "repetitions: 0") + "wibble: 1\n"
    with pytest.raises(ConfigError) as caught:
        resolved(text, tmp_path)
    assert {problem.key for problem in caught.value.problems} == {"gate.cooldown_s", "repetitions", "wibble"}


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    write(Case("", GOOD, ()), tmp_path)
    with pytest.raises(ConfigError, match=r"does not exist\. .* has bad\.yaml"):
        load(tmp_path / "campaigns" / "absent.yaml")


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)


def test_a_device_is_not_a_config() -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        load(Path("/dev/zero"))


def test_an_override_changes_one_model_and_no_other(tmp_path: Path) -> None:
    library = (
        LIBRARY["models.yaml"]
        + "  - {name: big, engines: [llamacpp], path: /big, batch_size: 2, expected_tok_s: [1.0, 2.0]}\n"
    )
    text = swap("models", "models: [small, big]") + "overrides: {big: {repetitions: 2, requests: 3, batch_size: 8}}\n"
    campaign = resolved(text, tmp_path, {"models.yaml": library})
    assert campaign.repetitions == {"small": 4, "big": 2}
    assert [campaign.asked(name, "chat").requests for name in ("small", "big")] == [8, 3]
    assert [campaign.model(name).batch_size for name in ("small", "big")] == [4, 8]
    assert campaign.model("big").expected_tok_s is None, "it was said of the entry's own batch size"
    assert campaign.runs == 12


def test_the_page_cache_can_be_a_factor(tmp_path: Path) -> None:
    text = swap("environments", "environments: [native-chroot, {name: warm, extends: docker, cache: warm}]")
    campaign = resolved(text, tmp_path)
    assert campaign.gate_of("native-chroot") == campaign.gate
    assert campaign.gate_of("warm").cache == "warm"
    assert campaign.gate_of("warm").ceiling_c == campaign.gate.ceiling_c


@pytest.mark.parametrize("file", sorted((CONFIGS / "campaigns").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_campaign_of_the_project_loads(file: Path) -> None:
    assert campaign_in(file).name in (file.stem, f"{file.stem}-2a")


def test_the_good_config_is_good(tmp_path: Path) -> None:
    campaign = resolved(GOOD, tmp_path)
    assert campaign.reference == "native-chroot"
    assert campaign.order == "alternate"
    assert campaign.repetitions == {"small": 4}
    assert campaign.runs == 8
    assert campaign.environment("docker").ipc == "host"


def test_comments_and_order_of_keys_do_not_change_the_hash(tmp_path: Path) -> None:
    turned = "".join(f"{part}  # why\n" for part in reversed(GOOD.partition("gate:")[0].splitlines()))
    other = turned + "\n\ngate: {ceiling_c: 45.0, cooldown_s: 0.0}\n"
    assert resolved(GOOD, tmp_path / "a").config_hash == resolved(other, tmp_path / "b").config_hash


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("seed", "seed: 8"),
        ("repetitions", "repetitions: 5"),
        ("  cooldown_s", "  cooldown_s: 1"),
        ("name", "name: other"),
    ],
)
def test_any_change_of_meaning_changes_the_hash(line: str, new: str, tmp_path: Path) -> None:
    assert resolved(GOOD, tmp_path / "a").config_hash != resolved(swap(line, new), tmp_path / "b").config_hash


def test_a_change_in_the_library_changes_the_hash_only_where_it_is_used(tmp_path: Path) -> None:
    used = {"models.yaml": LIBRARY["models.yaml"].replace("batch_size: 4", "batch_size: 8")}
    unused = {"models.yaml": LIBRARY["models.yaml"].replace("example/large", "example/larger")}
    before = resolved(GOOD, tmp_path / "a").config_hash
    assert resolved(GOOD, tmp_path / "b", used).config_hash != before
    assert resolved(GOOD, tmp_path / "c", unused).config_hash == before


def test_a_resolved_campaign_survives_its_json(tmp_path: Path) -> None:
    campaign = resolved(GOOD, tmp_path)
    again = Campaign.model_validate_json(campaign.model_dump_json())
    assert again == campaign
    assert again.config_hash == campaign.config_hash


def test_a_combination_takes_each_arms_own_options(tmp_path: Path) -> None:
    """Both parents inherit ``ipc: host``; the one that changes it is not overruled by the other's inheritance."""
    library = {
        "environments.yaml": LIBRARY["environments.yaml"]
        + "pinned:\n  extends: docker\n  cpuset: 0-3\n  ulimits: {stack: 1}\n"
        + "locked:\n  extends: docker\n  ulimits: {memlock: -1}\n"
        + "both: {extends: [docker-private, pinned, locked]}\n"
        + "less: {extends: both, cpuset: null, ulimits: {stack: null}}\n"
    }
    campaign = resolved(swap("environments", "environments: [native-chroot, both, less]"), tmp_path, library)
    both, less = campaign.environment("both"), campaign.environment("less")
    assert (both.ipc, both.cpuset, both.ulimits) == ("private", "0-3", {"stack": 1, "memlock": -1})
    assert (less.ipc, less.cpuset, less.ulimits) == ("private", None, {"memlock": -1})
    assert campaign.order == "williams"


def test_an_option_taken_out_is_taken_out_of_every_arm_and_said(tmp_path: Path) -> None:
    library = {
        "environments.yaml": "native-chroot: {kind: native-chroot, ulimits: {memlock: -1, stack: 1}}\n"
        "docker: {kind: docker, description: all, gpu: {by: toolkit}, ulimits: {memlock: -1, stack: 1}}\n"
    }
    campaign = resolved(GOOD + "without: [gpu, ulimits.memlock]\n", tmp_path, library)
    assert [arm.ulimits for arm in campaign.environments] == [{"stack": 1}, {"stack": 1}]
    assert campaign.environment("docker").gpu.by == "none"
    assert campaign.environment("docker").description == "all; here without gpu, ulimits.memlock"


def test_definitions_can_stand_in_the_campaign(tmp_path: Path) -> None:
    text = swap("workloads", "workloads: [chat, {name: own, requests: 2, input_tokens: 4, output_tokens: 4}]")
    assert [workload.name for workload in resolved(text, tmp_path).workloads] == ["chat", "own"]


def test_the_library_can_lie_elsewhere(tmp_path: Path) -> None:
    file = write(Case("", GOOD + "library: ../..\n", ()), tmp_path / "x" / "y")
    with pytest.raises(ConfigError, match="no model is called"):
        load(file)
    for name, text in LIBRARY.items():
        (tmp_path / "x" / name).write_text(text)
    assert load(file).models[0].name == "small"


@pytest.mark.parametrize("file", sorted((CONFIGS / "campaigns").glob("*.yaml")), ids=lambda file: file.name)
def test_the_projects_own_campaigns_load(file: Path) -> None:
    assert campaign_in(file).runs > 0


@pytest.mark.parametrize(("kind", "cls"), [("models", Model), ("environments", Environment), ("workloads", Workload)])
def test_every_entry_of_the_projects_library_is_valid(kind: str, cls: type[BaseModel]) -> None:
    problems: list[Problem] = []
    root = read(CONFIGS / f"{kind}.yaml").child(kind)
    assert root is not None and isinstance(root.value, list)
    names = [name for entry in root.value if (name := entry.child("name"))]
    assert len(names) > 1
    found = definitions(kind, root.with_value(names), (CONFIGS,), problems).value
    assert isinstance(found, list) and len(found) == len(names)
    for entry in found:
        validated(entry, cls, problems)
    assert problems == []


@given(st.binary(max_size=200))
def test_no_bytes_whatever_get_past_as_anything_but_a_tree_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(data)
    try:
        load(file)
    except ConfigError as error:
        assert str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*Campaign.model_fields, "library", "extends", "x"]), inner, max_size=6)
        ),
        max_leaves=12,
    )
)
def test_no_tree_whatever_gets_past_as_anything_but_a_message(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    import yaml

    file = tmp_path_factory.getbasetemp() / "tree.yaml"
    file.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value)


def test_words_that_yaml_1_1_would_read_otherwise_are_text(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("a: on\nb: no\nc: 1:30\nd: 2025-01-01\ne: 1e3\nf: .5\ng: 0o7\nh: ~\n")
    assert read(file).plain() == {
        "a": "on", "b": "no", "c": "1:30", "d": "2025-01-01", "e": 1000.0, "f": 0.5, "g": "0o7", "h": None,
    }  # fmt: skip
