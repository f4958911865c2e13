#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a transformers checkpoint with a random head, and its logits, for another program to open and repeat.

    python tests/reference/make_hf_checkpoint.py MODEL KIND LABELS OUT [LINES] [--seed 0] [--last-piece]

MODEL is an encoder's folder; KIND is `token`, `sequence`, `choice` or `span`; LABELS are names separated by commas (`-` for `choice` and
`span`, which have none). OUT gets the model as `save_pretrained` writes it, the tokenizer's files, and `logits.jsonl`: the JSON lines of the file
LINES (or of standard input), as `compare_checkpoint.py` describes them but without `logits`, each with its logits.

Needs torch and transformers. Uses no network.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from compare_checkpoint import HEADS, logits_of, open_folder

KINDS = dict(zip(("token", "sequence", "choice", "span"), HEADS))
TOKENIZER = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("labels")
    parser.add_argument("out", type=Path)
    parser.add_argument("lines", type=argparse.FileType(encoding="utf-8"), nargs="?", default=sys.stdin)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--last-piece", action="store_true", help="a word's logits are those of its last piece")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    lines = [json.loads(line) for line in arguments.lines if line.strip()]

    labels = {} if arguments.labels == "-" else dict(enumerate(arguments.labels.split(",")))
    more = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}} if labels else {}
    torch.manual_seed(arguments.seed)
    kind = getattr(transformers, "AutoModelFor" + KINDS[arguments.kind])
    model, report = kind.from_pretrained(arguments.model, dtype=torch.float32, output_loading_info=True, **more)
    if model.config.pad_token_id is None and arguments.kind == "sequence":
        model.config.pad_token_id = model.config.eos_token_id  # without one, such a head takes no batch
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in report["missing_keys"]:  # larger than the usual beginning, so that a mistake shows
                parameter.normal_(std=0.2)
    model.save_pretrained(arguments.out)
    for name in TOKENIZER:  # as they are: the library would write them anew in its own form
        if (arguments.model / name).exists():
            shutil.copy(arguments.model / name, arguments.out)

    model, head, tokenizer = open_folder(arguments.out)
    with open(arguments.out / "logits.jsonl", "w", encoding="utf-8") as out:
        for line in lines:
            logits = logits_of(model, head, tokenizer, line, arguments.last_piece)
            out.write(json.dumps({**line, "logits": logits.tolist()}, ensure_ascii=False) + "\n")
    print(f"{type(model).__name__}, {len(report['missing_keys'])} random tensors, {len(lines)} lines: {arguments.out}")


if __name__ == "__main__":
    main()
