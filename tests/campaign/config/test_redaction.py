"""Nothing that looks like a secret reaches what is published, wherever it came from."""

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_campaign import write_config

from campaign.config import loading as configs
from campaign.config.redaction import REMOVED, is_secret, published, secrets, without, without_in
from campaign.config.schema import Campaign

TOKEN = "hf_aVeryLongTokenOfAPerson"


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "OPENAI_API_KEY",
        "DB_PASSWORD",
        "PASSWORD",
        "MYSQLPASSWORD",
        "client-secret",
        "api-key",
        "token",
    ],
)
def test_such_a_name_holds_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "output_tokens",
        "input_tokens",
        "tokenizer",
        "pad_token",
        "KEYBOARD",
        "RAY_AUTH_TOKEN_PATH",
        "SSH_AUTH_SOCK",
        "PATH",
        "model",
    ],
)
def test_such_a_name_holds_none(name):
    assert not is_secret(name)


def test_values_are_replaced_where_they_stand_and_wherever_they_turn_up():
    config = {
        "environments": [
            {
                "name": "docker",
                "variables": {"HF_TOKEN": TOKEN, "http_proxy": "http://me:pass-word-1@proxy:3128", "LANG": "C"},
            }
        ],
        "engine_options": {"vllm": {"api-key": "k-123456789", "max_tokens": 7}},
        "argv": ["serve", "--hf-token", TOKEN, "--api-key=abc-defgh-ijk", "--output-tokens=12"],
        "failure": f"401: token {TOKEN} was refused",
    }
    text = json.dumps(published(config))
    for secret in (TOKEN, "pass-word-1", "k-123456789", "abc-defgh-ijk"):
        assert secret not in text
    assert published(config)["environments"][0]["variables"]["http_proxy"] == f"http://{REMOVED}@proxy:3128"
    assert published(config)["argv"] == ["serve", "--hf-token", REMOVED, f"--api-key={REMOVED}", "--output-tokens=12"]
    assert published(config)["engine_options"]["vllm"]["max_tokens"] == 7
    assert published(published(config)) == published(config)


def test_logs_and_shell_lines_lose_them_too():
    known = secrets({"HF_TOKEN": TOKEN, "PIN_KEY": "100000", "A_KEY": "12345678"})
    data = (
        f'export HF_TOKEN={TOKEN} HOSTNAME={socket.gethostname()}\n{{"HOSTNAME": "{socket.gethostname()}", "n": '
        '100000, "m": 12345678}'
    )
    done = without(data.encode(), known).decode()
    assert TOKEN not in done
    assert "HOSTNAME=unit\n" in done and '"HOSTNAME": "unit"' in done
    assert '"n": 100000, "m": 12345678' in done, "a figure is never taken for a secret"


def test_a_secret_in_a_campaign_file_is_in_no_config_that_is_kept(tmp_path):
    path = write_config(tmp_path)
    path.write_text(
        path.read_text().replace(
            "environments: [native-chroot, docker-baseline]",
            "environments: [native-chroot, {name: docker-told, extends: docker-baseline, variables: {HF_TOKEN: "
            f"{TOKEN}}}}}]",
        )
    )
    campaign = configs.load(path)
    assert campaign.environment("docker-told").variables["HF_TOKEN"] == TOKEN, "the engine gets it"
    assert TOKEN not in json.dumps(campaign.published())
    assert Campaign.model_validate_json(json.dumps(campaign.published())).config_hash == campaign.config_hash


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 37))
def test_a_file_in_pieces_loses_what_the_whole_loses(parts, size):
    """A secret that lies across two pieces is found, and so is the name of the machine."""
    known = secrets({"HF_TOKEN": TOKEN, "A_KEY": "overlap-overlap-lap"})
    words = (TOKEN, "x" * 300, f" HOSTNAME={socket.gethostname()} ", "overlap-overlap-lapover")
    whole = "".join(words[part] for part in parts).encode()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert b"".join(without_in(pieces, known)) == without(whole, known)
