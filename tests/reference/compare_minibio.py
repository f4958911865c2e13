#!/usr/bin/env python3
"""Opens data/minibio/model with transformers and compares its fill-mask answers with a finished run of data/runs/quickstart.yaml.

usage: compare_minibio.py RUN_FOLDER     (needs torch and transformers; exit code 1 on any difference)

Checked: the checkpoint loads without missing or unexpected tensors, and for all 500 questions the first ten candidates are the same with
log-probabilities within 1e-4.
"""
import csv
import glob
import sys
from pathlib import Path

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

data = Path(__file__).resolve().parents[2] / "data" / "minibio"
model, report = AutoModelForMaskedLM.from_pretrained(data / "model", output_loading_info=True)
assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
tokenizer = AutoTokenizer.from_pretrained(data / "model")
model.eval()

facts = list(csv.DictReader(open(data / "facts.csv")))
prompts = {row["relation"]: row["template"] for row in csv.DictReader(open(data / "prompts.csv"))}
pools = {}
for fact in facts:
    pools.setdefault(fact["relation"], set()).update(fact["objects"].split(" || "))
answers = {}
for path in glob.glob(f"{sys.argv[1]}/predictions/minibio-*-fill-mask.*.csv"):
    answers.update({row["example_id"]: row for row in csv.DictReader(open(path))})

same, worst = 0, 0.0
for fact in facts:
    text = prompts[fact["relation"]].replace("[X]", fact["subject"]).replace("[Y]", tokenizer.mask_token)
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        at_mask = model(**encoded).logits[0, (encoded.input_ids[0] == tokenizer.mask_token_id).nonzero()[0, 0]]
    log_probabilities = torch.log_softmax(at_mask, -1)
    names = sorted(pools[fact["relation"]])
    scores = [float(log_probabilities[tokenizer.convert_tokens_to_ids(name)]) for name in names]
    order = sorted(range(len(names)), key=lambda index: (-scores[index], names[index]))[:10]
    found = answers[f"{fact['relation']}:{fact['subject']}"]
    same += found["predictions"].split(" || ") == [names[index] for index in order]
    worst = max(worst, *(abs(float(score) - scores[index]) for score, index in zip(found["scores"].split(" || "), order)))
print(f"{same} of {len(facts)} questions have the same first ten candidates; log-probabilities differ by at most {worst:.1e}")
sys.exit(same != len(facts) or worst > 1e-4)
