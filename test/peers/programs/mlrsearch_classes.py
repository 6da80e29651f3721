"""Reads trials of several cases as JSON and prints what MLRsearch makes of them: classes, losses and bounds."""

import json
import sys

from MLRsearch.discrete_load import DiscreteLoad
from MLRsearch.discrete_result import DiscreteResult
from MLRsearch.load_rounding import LoadRounding
from MLRsearch.measurement_database import MeasurementDatabase
from MLRsearch.target_spec import TargetSpec

REQUESTS = 1000
LOADS = 64
# Windows are all of one length; some took longer.
WINDOW_S = 8


def bound_of(stat):
    return None if stat is None else int(stat) + 1


def classified(case):
    goal = case["goal"]
    target = TargetSpec(
        loss_ratio=case["lossRatio"],
        exceed_ratio=goal["exceedRatio"],
        discrete_width=None,
        trial_duration=WINDOW_S,
        duration_sum=goal["durationS"],
        expansion_coefficient=1,
        fail_fast=False,
        preceding=None,
    )
    # Loads are whole numbers from 1 on; only their order matters here.
    rounding = LoadRounding(min_load=1.0, max_load=2.0, float_goals=(0.01,))
    assert rounding.max_int_load >= LOADS
    database = MeasurementDatabase(targets=(target,))
    for trial in case["trials"]:
        load = DiscreteLoad(rounding=rounding, int_load=trial["load"] - 1)
        database.add(
            DiscreteResult(
                intended_duration=WINDOW_S,
                intended_load=float(load),
                offered_count=REQUESTS,
                loss_count=trial["lost"],
                duration_with_overheads=trial["seconds"],
                discrete_load=load,
            )
        )
    bounds = database.get_relevant_bounds(target)
    return {
        "loads": [
            {
                "load": int(load) + 1,
                "estimates": stats.estimates(target),
                "lossRatio": stats.target_to_stat[target].pessimistic_loss_ratio,
            }
            for load, stats in database.load_to_stats.items()
        ],
        "lower": bound_of(bounds.clo),
        "upper": bound_of(bounds.chi),
    }


with open(sys.argv[1], encoding="utf-8") as file:
    print(json.dumps([classified(case) for case in json.load(file)]))
