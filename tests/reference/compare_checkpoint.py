#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the logits of a fine-tuned model with those transformers computes from the same folder.

    python tests/reference/compare_checkpoint.py MODEL LOGITS [--tolerance 1e-4] [--last-piece]

MODEL is a folder in Hugging Face layout; `architectures` of its config.json says which head it has. LOGITS is a file of JSON lines:

  {"words": ["Acute", "hepatitis"], "logits": [[..], [..]]}     token classification: a row for each word, that of its first piece
  {"text": "..", "pair": "..", "logits": [..]}                  sequence classification, with or without `pair`: a number for each label
  {"text": "..", "options": ["..", ".."], "logits": [..]}       multiple choice: a number for each option
  {"text": "..", "pair": "..", "logits": [[s, e], ..]}          question and context: start and end for each position, specials included

A number may differ by tolerance + tolerance * |reference|. Ends with 1 if one differs more, or if the shapes differ, or if there is no line.
Words are tokenised one by one, with a blank before each for byte-level vocabularies. Needs torch and transformers. Uses no network.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import AutoTokenizer

HEADS = ("TokenClassification", "SequenceClassification", "MultipleChoice", "QuestionAnswering")


def open_folder(folder):
    """The model with its head, the name of the head, and the tokenizer."""
    architectures = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    head = next((h for h in HEADS for a in architectures if a.endswith("For" + h)), None)
    if head is None:
        sys.exit(f"{folder}/config.json: `architectures` is {architectures}, which has none of the heads {', '.join(HEADS)}")
    kind = getattr(transformers, "AutoModelFor" + head)
    model, report = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    # transformers fills what a file lacks with random numbers: that would compare nothing. What the class does not read, such as the pooler of
    # a tagger, is kept for other uses of the checkpoint.
    left = {k: sorted(v) for k, v in report.items() if v and k in ("missing_keys", "mismatched_keys")}
    if left:
        sys.exit(f"{folder}: the weights do not fit {type(model).__name__}: {left}")
    if report.get("unexpected_keys"):
        print(f"{type(model).__name__} does not read {', '.join(sorted(report['unexpected_keys']))}", file=sys.stderr)
    return model.eval(), head, AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, model, text, pair=None):
    if type(tokenizer).__name__.startswith("GPT2"):  # no special tokens, and nothing between the two texts of a pair
        ids = tokenizer(text)["input_ids"] + (tokenizer(pair)["input_ids"] if pair is not None else [])
        return {"input_ids": torch.tensor([ids])}
    found = tokenizer(text, pair, return_token_type_ids=True, return_tensors="pt")
    names = ("input_ids", "token_type_ids") if getattr(model.config, "type_vocab_size", 0) > 1 else ("input_ids",)
    return {name: found[name] for name in names}


def word_logits(model, tokenizer, words, last_piece):
    """Logits (words, labels) at the first or last piece of every word."""
    blank = " " if type(tokenizer).__name__.startswith(("GPT2", "Roberta")) else ""
    special = encode(tokenizer, model, "")["input_ids"][0].tolist()
    # Special tokens that every text has: all before the pieces in BioGPT, else the first before and the rest after.
    before = special[:1]
    ids, places = list(before), []
    for word in words:
        pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(blank + word))
        if not pieces:
            sys.exit(f"word `{word}` has no pieces")
        places.append(len(ids) + (len(pieces) - 1 if last_piece else 0))
        ids += pieces
    logits = model(input_ids=torch.tensor([ids + special[1:]])).logits[0]
    return logits[places]


@torch.no_grad()
def logits_of(model, head, tokenizer, line, last_piece=False):
    """The logits of one line, nothing padded and nothing cut."""
    if head == "TokenClassification":
        return word_logits(model, tokenizer, line["words"], last_piece)
    if head == "MultipleChoice":
        rows = [encode(tokenizer, model, line["text"], " " + option) for option in line["options"]]
        # Options have different lengths: each is a question with one option, which gives the same score.
        return torch.stack([model(**{k: v.unsqueeze(0) for k, v in row.items()}).logits[0, 0] for row in rows])
    out = model(**encode(tokenizer, model, line["text"], line.get("pair")))
    if head == "QuestionAnswering":
        return torch.stack([out.start_logits[0], out.end_logits[0]], dim=-1)
    return out.logits[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--last-piece", action="store_true", help="a word's logits are those of its last piece")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    model, head, tokenizer = open_folder(arguments.model)
    lines = [json.loads(line) for line in arguments.logits.read_text(encoding="utf-8").split("\n") if line.strip()]
    largest, wrong = 0.0, 0
    for number, line in enumerate(lines, 1):
        reference, found = logits_of(model, head, tokenizer, line, arguments.last_piece), torch.tensor(line["logits"])
        if reference.dim() == 1 and found.shape == (1, *reference.shape):
            found = found[0]
        if found.shape != reference.shape:
            print(f"line {number}: shape {list(found.shape)}, transformers has {list(reference.shape)}")
            wrong += 1
            continue
        difference = (found - reference).abs()
        largest = max(largest, difference.max().item())
        # Not `>`: a number that is not one must count as wrong.
        if not bool((difference <= arguments.tolerance * (1 + reference.abs())).all()):
            print(f"line {number}: differs by up to {difference.max().item():.3g}")
            wrong += 1
    print(f"{type(model).__name__}: {len(lines)} lines, {wrong} wrong, largest difference {largest:.3g}")
    return int(wrong > 0 or not lines)


if __name__ == "__main__":
    sys.exit(main())
