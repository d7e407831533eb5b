"""An outlier is found in a complete cell, by name, and never in one too small to have any."""

import json

from hypothesis import given
from hypothesis import strategies as st

from actors.types import Metric
from campaign.plan.design import Planned
from campaign.record.attempt import AttemptRecord
from campaign.record.store import Store
from campaign.run.outliers import outliers


def cell(folder, values):
    """A store and plan of one cell with ``values`` as token throughput."""
    store = Store(folder)
    plan = []
    for number, value in enumerate(values, 1):
        run_id = f"m__e__w__r{number:02d}"
        speed = Metric(name="token_throughput_tok_s", value=value, unit_of_measure="tok/s", source="engine")
        record = AttemptRecord(
            run_id=run_id, attempt=1, unit="u", campaign_id="c", phase="baseline", model="m", environment="e",
            workload="w",
            engine="llamacpp", repetition=number, block=f"m__w__r{number:02d}", position=1, outcome="completed",
                accepted=True,
            metrics=(speed,),
        )  # fmt: skip
        store.commit_attempt(run_id, 1, {"metadata.json": json.dumps(record.to_json()).encode()})
        plan.append(
            Planned(
                index=number, run_id=run_id, phase="baseline", model="m", environment="e", workload="w",
                    engine="llamacpp",
                repetition=number, block=f"m__w__r{number:02d}", block_index=number, position=1, lane=0,
                simulated=False,
            )
        )  # fmt: skip
    return store, plan, {row.run_id: 1 for row in plan}


def test_one_run_far_from_the_rest_is_named_with_its_distance(tmp_path):
    found = outliers(*cell(tmp_path, [100.0, 101.0, 99.0] * 5 + [150.0]), 3.0)  # type: ignore[call-arg]
    assert list(found) == ["m__e__w__r16"]
    assert "150 lies 3." in found["m__e__w__r16"]


def test_equal_values_have_no_outlier(tmp_path):
    assert outliers(*cell(tmp_path, [5.0] * 15), 3.0) == {}  # type: ignore[call-arg]


@given(st.lists(st.floats(min_value=1, max_value=1e6), min_size=2, max_size=10))
def test_a_cell_of_ten_or_fewer_has_none(tmp_path_factory, values):
    assert outliers(*cell(tmp_path_factory.mktemp("cell"), values), 3.0) == {}  # type: ignore[call-arg]
