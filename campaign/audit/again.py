"""What is computed again from the config that a results folder keeps."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from actors import host
from campaign.record.attempt import AttemptRecord


def hash_of(config: Any) -> str:
    """As :attr:`campaign.config.schema.Campaign.config_hash`, of a config that is already JSON."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def campaign_of(info: dict[str, Any]) -> Any:
    """The config as it is read here; None where it cannot be, or where a name in it leads nowhere:
    no file says that, only damage does."""
    from campaign.config.schema import Campaign

    try:
        found = Campaign.model_validate_json(json.dumps(info.get("config")))
    except (ValidationError, ValueError):
        return None
    models, arms = {model.name for model in found.models}, {arm.name for arm in found.environments}
    return found if models == set(found.repetitions) and found.reference in arms else None


def other_code(info: dict[str, Any]) -> str:
    """What to bear in mind where other code computes again than measured."""
    then = str((info.get("code") or {}).get("digest"))
    return "" if then == host.code_digest() else f" (computed by other code than the campaign's, {then[:12]})"


def judge_again(campaign: Any, metadata: dict[str, Any], canary_best_gb_s: float | None) -> Any:
    """The checks of an attempt from what its ``metadata.json`` keeps of the evidence."""
    from campaign.run.acceptance import judge

    record = AttemptRecord.read(json.dumps(metadata))
    return judge(
        record.evidence(),
        campaign.gate_of(record.environment),
        campaign.acceptance,
        model_identity=metadata["model_identity"],
        canary_best_gb_s=canary_best_gb_s if campaign.canary else None,
    ).checks
