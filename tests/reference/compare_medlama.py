#!/usr/bin/env python3
"""Compares a finished run of data/runs/medlama.yaml with the reference of medlama_retrieval.py, query by query.

usage: compare_medlama.py RUN_FOLDER minilm_medlama.json     (standard library only; exit code 1 on any difference)

Checked: the number of queries and the hits of the frequency prior as the data set was published, and for the un-rewired encoder every
query's hit at rank 1 and 10 and every relation's hits at 1, 5 and 10 and mrr. A query may differ only where the reference lists it as a near
tie (a relative difference of distances below 1e-5).
"""
import csv
import glob
import json
import sys
from collections import defaultdict

csv.field_size_limit(1 << 30)
run, reference = sys.argv[1], json.load(open(sys.argv[2]))
PRIOR = {"full": (19000, 4896, 10690), "hard": (15329, 4194, 8957)}
POOL = {"full": 22923, "hard": 17532}
failures = []


def check(what, found, expected):
    if found != expected:
        failures.append(f"{what}: found {found}, expected {expected}")


def rows(pattern):
    files = [path for path in glob.glob(f"{run}/predictions/*.csv") if pattern(path.rsplit("/", 1)[1])]
    assert len(files) == 1, f"{len(files)} prediction files match"
    with open(files[0], newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def near_ties(entry):
    """Row indexes in which a decision may legitimately differ."""
    return set(entry["near_ties"]["rows"])


for subset in ("full", "hard"):
    n, prior1, prior10 = PRIOR[subset]
    prior = rows(lambda name: name.startswith(f"{subset}-frequency-prior"))
    ranks = [int(row["rank"]) if row["rank"] else None for row in prior]
    check(f"{subset}: queries", len(prior), n)
    check(f"{subset}: pool", int(prior[0]["n_candidates"]), POOL[subset])
    check(f"{subset}: prior hits at 1", sum(rank == 1 for rank in ranks if rank), prior1)
    check(f"{subset}: prior hits at 10", sum(rank <= 10 for rank in ranks if rank), prior10)

    by_relation = defaultdict(list)
    for row in rows(lambda name: name.startswith(f"encoder-{subset}-contrastive")):
        by_relation[row["relation"]].append(int(row["rank"]) if row["rank"] else None)
    compared = differing = 0
    for relation, entry in reference["subsets"][subset]["relations"].items():
        ranks = by_relation[relation]
        check(f"{subset} {relation}: queries", len(ranks), entry["n"])
        exempt = near_ties(entry)
        at1 = set(entry["hit1_rows"])
        bits = entry["hit10_bitmap"]
        for row, rank in enumerate(ranks):
            hit10 = bool(int(bits[row // 4], 16) >> (3 - row % 4) & 1)
            compared += 1
            if ((rank == 1) != (row in at1) or (rank is not None and rank <= 10) != hit10) and row not in exempt:
                differing += 1
        for k in (1, 5, 10):
            hits = sum(rank is not None and rank <= k for rank in ranks)
            expected = entry["hits"]["merge"][str(k)]
            if abs(hits - expected) > len(exempt):
                failures.append(f"{subset} {relation}: {hits} hits at {k}, expected {expected}")
        mrr = sum(1 / rank for rank in ranks if rank) / len(ranks)
        low, high = entry["mrr_range"]
        if not low - 1e-6 <= mrr <= high + 1e-6:
            failures.append(f"{subset} {relation}: mrr {mrr}, expected between {low} and {high}")
    check(f"{subset}: queries whose hit at 1 or 10 differs", differing, 0)
    print(f"{subset}: compared {compared} queries of {len(by_relation)} relations, {differing} differ at rank 1 or 10")

for failure in failures:
    print("FAILED", failure)
sys.exit(bool(failures))
