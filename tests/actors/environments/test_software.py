"""What an arm runs is its own image and engine options, else the campaign's; what two arms do not share is said."""

from __future__ import annotations

from actors.environments import software
from actors.gpu import caches
from actors.types import Environment, Image, ImageIdentity, Model

CAMPAIGNS = Image(source="registry", reference="vllm:1")
NEWER = Image(source="registry", reference="vllm:2")
MODEL = Model(
    name="m", engines=("vllm",), engine_options={"vllm": {"dtype": "auto", "compilation": {"level": 3, "fuse": True}}}
)
PLAIN = Environment(name="plain", kind="docker")
OTHER = Environment(name="other", kind="docker", image=NEWER)
EAGER = Environment(
    name="eager", kind="docker", engine_options={"vllm": {"enforce-eager": True, "compilation": {"level": 0}}}
)


def test_an_arms_options_go_over_the_models_key_by_key() -> None:
    options = software.model_in(EAGER, MODEL, "vllm").engine_options["vllm"]
    assert options == {"dtype": "auto", "enforce-eager": True, "compilation": {"level": 0, "fuse": True}}
    assert software.model_in(PLAIN, MODEL, "vllm") is MODEL
    assert software.model_in(EAGER, MODEL, "trtllm") is MODEL


def test_arms_of_the_same_software_share_what_is_made_of_it() -> None:
    twin = OTHER.model_copy(update={"name": "twin", "kind": "native-chroot", "image": NEWER.model_copy()})
    assert software.variant(OTHER, CAMPAIGNS, "vllm") == software.variant(twin, CAMPAIGNS, "vllm") != ""
    assert software.image_key(OTHER, CAMPAIGNS) == software.image_key(twin, CAMPAIGNS) == "registry:vllm:2"


def test_the_campaigns_own_software_needs_no_name_of_its_own() -> None:
    named = PLAIN.model_copy(update={"image": CAMPAIGNS.model_copy()})
    for arm in (PLAIN, named):
        assert (software.image_key(arm, CAMPAIGNS), software.variant(arm, CAMPAIGNS, "vllm")) == ("image", "")
    assert software.prepared_key("m", "w", "") == "m/w"
    assert software.variant(EAGER, CAMPAIGNS, "trtllm") == "", "options of an engine that does not run"


def test_compile_caches_are_apart_for_each_image_and_each_set_of_options(tmp_path) -> None:
    image, newer = (ImageIdentity(reference=name, digest=f"sha256:{name}") for name in ("a", "b"))
    keys = [software.of_variant("m", software.variant(arm, CAMPAIGNS, "vllm")) for arm in (PLAIN, EAGER)]
    places = {caches.folder(tmp_path, "vllm", key, one) for key in keys for one in (image, newer)}
    assert len(places) == 4


def test_what_two_arms_do_not_share_is_said() -> None:
    assert software.unlike(PLAIN, PLAIN.model_copy(update={"name": "net", "network": "host"}), CAMPAIGNS, "vllm") == []
    (image,) = software.unlike(OTHER, PLAIN, CAMPAIGNS, "vllm")
    assert image.startswith("other runs vllm:2 and plain runs vllm:1: userland, libraries and the engine's version")
    (options,) = software.unlike(EAGER, PLAIN, CAMPAIGNS, "vllm")
    assert options == 'eager gives vllm compilation: {"level": 0}, enforce-eager: true, plain no options of its own'
