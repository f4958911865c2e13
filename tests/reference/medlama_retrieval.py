#!/usr/bin/env python3
"""Reference figures for the MedLAMA retrieval probe.

An implementation on PyTorch/transformers that shares no code with the probe it
checks. Semantics:

Data
    full = the 19 files 2021AA/*_1000.csv, hard = the 19 files 2021AA/*_hard.csv;
    UTF-8, RFC-4180. Relation id = file stem without `_1000` / `_{H}_hard`.
    Query = human_prompt.replace("[X]", head_name).replace("[Y]", "[MASK]").
    Golds = tail_names.split(" || ").
Pool (`global`)
    The sorted set (Unicode code points = UTF-8 byte order) of every head_name and
    every gold of all 19 files of the subset: 22 923 names (full), 17 532 (hard).
    --relations limits the queries, never the pool.
Encoding
    float32, eval mode, the folder's tokenizer.json with its own truncation and
    padding switched off. Queries are cut to 50 tokens, candidates to 25, both
    counting [CLS] and [SEP]; the cut drops pieces on the right and keeps [SEP].
    Batches hold sentences of equal length, so nothing is padded. The vector is the
    last hidden state at [CLS], unnormalised. Equal token ids are encoded once, so
    their vectors are equal bit for bit.
Distance
    Squared L2, computed in float64 from the float32 vectors, ascending.
Tie rules
    merge: names with equal token ids (after the cut) form one candidate, which stands
           at the position of its first name and is a hit if any of its names is a gold;
    index: every name is a candidate of its own.
    Equal distances: the lower index comes first, in both.
Metrics
    hit@k = a hit within the first k ranks; acc@k = mean over the queries;
    mrr = mean of 1 / rank of the first hit within the whole pool (merge).
Near ties
    Two distances are near if |a - b| < 1e-5 * max(a, b). With g the best gold, let
    `certain` be the number of wrong candidates ahead of g and not near it, `possible`
    that number plus all wrong candidates near g. Then the decision at k is open,
    and a float32 engine may differ in it, iff certain < k <= possible.
    `mrr_range` is the mean of 1/(possible+1) and of 1/(certain+1). Under `index`, names
    with g's own token ids are never near: their order is settled by the index.
Prior
    Always answer the relation's 10 most frequent golds (count desc, name asc).
Output
    Row numbers are 0-based within a relation's file. A bitmap is the hex of
    ceil(n/8) bytes, row r in byte r//8, most significant bit first.
    Figures only: no name or row of the data is written.
"""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import collections
import csv
import hashlib
import json
import pathlib
import platform
import re
import sys
import time

import numpy as np
import tokenizers
import torch
import transformers

KS = (1, 5, 10)
QUERY_TOKENS = 50
CANDIDATE_TOKENS = 25
NEAR = 1e-5
RELATIONS = 19
POOL = {"full": 22923, "hard": 17532}
QUERIES = {"full": 19000, "hard": 15329}
PRIOR = {"full": (4896, 10690), "hard": (4194, 8957)}
PATTERN = {"full": ("*_1000.csv", r"_1000$"), "hard": ("*_hard.csv", r"_\d+_hard$")}


def load(data, subset):
    """{relation: [(head, [gold, ...]), ...]}, relations sorted by id."""
    glob, suffix = PATTERN[subset]
    files = {}
    for path in (data / "2021AA").glob(glob):
        relation = re.sub(suffix, "", path.stem)
        with open(path, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert all(row["rel"] == relation for row in rows), path.name
        files[relation] = [(row["head_name"], row["tail_names"].split(" || ")) for row in rows]
    assert len(files) == RELATIONS, (subset, len(files))
    return dict(sorted(files.items()))


def load_prompts(data):
    with open(data / "prompts.csv", encoding="utf-8", newline="") as handle:
        return {row["pid"]: row["human_prompt"] for row in csv.DictReader(handle)}


class Encoder:
    """[CLS] vectors by token ids, each id sequence encoded once."""

    def __init__(self, folder):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.model = transformers.AutoModel.from_pretrained(
            str(folder), dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.vectors = {}

    def ids(self, texts, limit):
        """Token ids of each text cut to `limit`, and how many texts were cut."""
        out, cut = [], 0
        for encoding in self.tokenizer.encode_batch(list(texts)):
            ids = encoding.ids
            if len(ids) > limit:
                ids = ids[: limit - 1] + ids[-1:]
                cut += 1
            out.append(tuple(ids))
        return out, cut

    @torch.inference_mode()
    def encode(self, sequences, batch=128):
        by_length = collections.defaultdict(list)
        for ids in dict.fromkeys(sequences):
            if ids not in self.vectors:
                by_length[len(ids)].append(ids)
        for length in sorted(by_length):
            todo = by_length[length]
            for start in range(0, len(todo), batch):
                part = todo[start : start + batch]
                tokens = torch.tensor(part, dtype=torch.long)
                hidden = self.model(
                    input_ids=tokens,
                    attention_mask=torch.ones_like(tokens),
                    token_type_ids=torch.zeros_like(tokens),
                ).last_hidden_state[:, 0]
                self.vectors.update(zip(part, hidden.numpy().copy()))
        return np.stack([self.vectors[ids] for ids in sequences])


def squared_l2(queries, candidates):
    q, c = queries.astype(np.float64), candidates.astype(np.float64)
    return (q * q).sum(1)[:, None] + (c * c).sum(1)[None, :] - 2.0 * (q @ c.T)


def first_hit(distance, gold):
    """Rank of the first hit, and which candidates are near the best gold.

    The best gold is the one of least (distance, index); everything ahead of it is wrong.
    """
    best = gold[np.lexsort((gold, distance[gold]))[0]]
    d = distance[best]
    equal = np.flatnonzero(distance == d)
    rank = 1 + int((distance < d).sum()) + int((equal < best).sum())
    near = np.abs(distance - d) < NEAR * np.maximum(distance, d)
    return int(best), rank, near


def bounds(distance, best, near, gold, settled):
    """(certain, possible) numbers of wrong candidates ahead of the best gold."""
    wrong = np.ones(len(distance), bool)
    wrong[gold] = False
    certain = int(((distance < distance[best]) & ~near & wrong).sum())
    unsettled = near & wrong
    if len(settled):
        certain += int((wrong[settled] & (settled < best)).sum())
        unsettled[settled] = False
    return certain, certain + int(unsettled.sum())


def plain_hits(distance, gold):
    """hit@k by sorting everything: the check on first_hit."""
    order = np.lexsort((np.arange(len(distance)), distance))
    return [bool(np.isin(order[:k], gold).any()) for k in KS]


def bitmap(flags):
    return np.packbits(np.asarray(flags, bool)).tobytes().hex()


def prior(rows):
    counts = collections.Counter(gold for _, golds in rows for gold in golds)
    ranked = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return {str(k): sum(bool(set(golds) & set(ranked[:k])) for _, golds in rows) for k in KS}


def near_report(bound):
    rows = {
        k: [row for row, (certain, possible) in enumerate(bound) if certain < k <= possible]
        for k in KS
    }
    union = sorted(set().union(*rows.values()))
    return {"n": len(union), "rows": union, "at": {str(k): rows[k] for k in KS}}


def evaluate(encoder, prompts, files, subset, wanted):
    names = sorted({name for rows in files.values() for head, golds in rows for name in [head, *golds]})
    assert len(names) == POOL[subset], (subset, len(names))
    assert sum(map(len, files.values())) == QUERIES[subset]
    name_index = {name: i for i, name in enumerate(names)}

    candidate_ids, candidates_cut = encoder.ids(names, CANDIDATE_TOKENS)
    groups = list(dict.fromkeys(candidate_ids))  # order of the first name of each group
    group_index = {ids: g for g, ids in enumerate(groups)}
    group_of = np.array([group_index[ids] for ids in candidate_ids])
    members = collections.defaultdict(list)
    for i, g in enumerate(group_of):
        members[int(g)].append(i)
    members = {g: np.array(m) for g, m in members.items()}
    candidates = encoder.encode(groups)

    relations = {}
    queries_cut = 0
    for relation, rows in files.items():
        if relation not in wanted:
            continue
        template = prompts[relation]
        texts = [template.replace("[X]", head).replace("[Y]", "[MASK]") for head, _ in rows]
        query_ids, cut = encoder.ids(texts, QUERY_TOKENS)
        queries_cut += cut
        queries = encoder.encode(query_ids)

        merge_rank, index_rank, merge_bound, index_bound = [], [], [], []
        for start in range(0, len(rows), 250):
            block = squared_l2(queries[start : start + 250], candidates)
            for offset, by_group in enumerate(block):
                row = start + offset
                gold = np.array(sorted({name_index[name] for name in rows[row][1]}))
                gold_groups = np.unique(group_of[gold])

                best, rank, near = first_hit(by_group, gold_groups)
                merge_rank.append(rank)
                none = np.array([], int)
                merge_bound.append(bounds(by_group, best, near, gold_groups, none))

                by_name = by_group[group_of]
                best_name, rank_name, near = first_hit(by_name, gold)
                index_rank.append(rank_name)
                own = members[int(group_of[best_name])]
                index_bound.append(bounds(by_name, best_name, near, gold, own))

                if row % 50 == 0:
                    assert plain_hits(by_group, gold_groups) == [rank <= k for k in KS]
                    assert plain_hits(by_name, gold) == [rank_name <= k for k in KS]
                    direct = ((queries[row].astype(np.float64) - candidates.astype(np.float64)) ** 2).sum(1)
                    assert np.abs(direct / by_group - 1.0).max() < 1e-11

        merge, index = np.array(merge_rank), np.array(index_rank)
        certain, possible = np.array(merge_bound).T
        relations[relation] = {
            "n": len(rows),
            "hits": {
                "merge": {str(k): int((merge <= k).sum()) for k in KS},
                "index": {str(k): int((index <= k).sum()) for k in KS},
            },
            "mrr": float((1.0 / merge).mean()),
            "mrr_range": [float((1.0 / (possible + 1)).mean()), float((1.0 / (certain + 1)).mean())],
            "hit1_rows": np.flatnonzero(merge <= 1).tolist(),
            "hit10_bitmap": bitmap(merge <= 10),
            "near_ties": near_report(merge_bound),
            "near_ties_index": near_report(index_bound),
            "prior_hits": prior(rows),
            "queries_cut": cut,
        }
        print(f"{subset} {relation}: {relations[relation]['hits']['merge']}", file=sys.stderr, flush=True)

    sizes = [len(m) for m in members.values() if len(m) > 1]
    result = {
        "pool": len(names),
        "candidates_merged": len(groups),
        "groups_of_several": len(sizes),
        "names_in_groups_of_several": sum(sizes),
        "candidates_cut": candidates_cut,
        "queries_cut": queries_cut,
        "total": totals(relations),
        "relations": relations,
    }
    if len(relations) == RELATIONS:
        hits = result["total"]["prior_hits"]
        assert (hits["1"], hits["10"]) == PRIOR[subset], hits
    return result


def totals(relations):
    parts = list(relations.values())
    n = sum(p["n"] for p in parts)
    out = {"n": n, "hits": {}, "micro": {}, "macro": {}}
    for rule in ("merge", "index"):
        hits = {str(k): sum(p["hits"][rule][str(k)] for p in parts) for k in KS}
        out["hits"][rule] = hits
        out["micro"][rule] = {k: h / n for k, h in hits.items()}
        out["macro"][rule] = {
            str(k): sum(p["hits"][rule][str(k)] / p["n"] for p in parts) / len(parts) for k in KS
        }
    out["mrr_micro"] = sum(p["mrr"] * p["n"] for p in parts) / n
    out["mrr_macro"] = sum(p["mrr"] for p in parts) / len(parts)
    for key in ("near_ties", "near_ties_index"):
        out[key] = {
            "n": sum(p[key]["n"] for p in parts),
            "at": {str(k): sum(len(p[key]["at"][str(k)]) for p in parts) for k in KS},
        }
    out["prior_hits"] = {str(k): sum(p["prior_hits"][str(k)] for p in parts) for k in KS}
    return out


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def render(value, depth=0):
    """JSON with one line per field of a relation, so that lists of rows stay on a line."""
    if isinstance(value, dict) and depth < 5:
        pad = " " * (depth + 1)
        body = ",\n".join(f"{pad}{json.dumps(k)}: {render(v, depth + 1)}" for k, v in value.items())
        return "{\n" + body + "\n" + " " * depth + "}"
    return json.dumps(value, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser(description="Reference figures for the MedLAMA retrieval probe.")
    parser.add_argument("--model", required=True, type=pathlib.Path, help="BERT encoder folder")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="folder with prompts.csv and 2021AA/")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--subset", choices=("full", "hard", "both"), default="both")
    parser.add_argument("--relations", help="comma-separated relation ids; default all 19")
    args = parser.parse_args()

    torch.set_num_threads(1)
    begin = time.time()
    subsets = ("full", "hard") if args.subset == "both" else (args.subset,)
    prompts = load_prompts(args.data)
    encoder = Encoder(args.model)
    out = {
        "model": {name: sha256(args.model / name) for name in ("model.safetensors", "tokenizer.json", "config.json")},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "numpy": np.__version__,
        },
        "query_tokens": QUERY_TOKENS,
        "candidate_tokens": CANDIDATE_TOKENS,
        "near": NEAR,
        "subsets": {},
    }
    for subset in subsets:
        files = load(args.data, subset)
        wanted = set(args.relations.split(",")) if args.relations else set(files)
        unknown = wanted - set(files)
        if unknown:
            parser.error(f"unknown relation: {', '.join(sorted(unknown))}")
        out["subsets"][subset] = evaluate(encoder, prompts, files, subset, wanted)
    text = render(out) + "\n"
    assert json.loads(text) == out
    args.out.write_text(text, encoding="utf-8")
    print(f"{args.out}: {len(text)} bytes, {time.time() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
