#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fine-tunes a local encoder for named entities with transformers and a plain loop, as a reference for the crates' figures.

    python tests/reference/ner_transformers.py MODEL TRAIN DEV TEST [--epochs 3] [--batch-size 16] [--learning-rate 2e-4] ...

The files are in BioBERT's form: `word<TAB>tag` (first and last column), a blank line ends a sentence, `-DOCSTART-` lines are dropped.

Recipe: AdamW with bias correction, weight decay 0.01 except on biases and gains of layer norms, epsilon 1e-8; linear warm-up and linear
decay to 0; gradients clipped to norm 1; dropout of the model's configuration; a linear head on the first piece of every word, mean
cross-entropy over the words of a batch. No word is lost: a sentence that does not fit is split into windows that follow each other without
overlap, each filled with as many whole words as fit; of a word that is longer than a window the first pieces are kept, and a word without
pieces is the unknown token. Batches hold inputs of about the same length, to save padding; their order is shuffled.

After each epoch a JSON line with the figures on DEV goes to stderr; at the end one JSON line with all figures goes to stdout. Precision,
recall and F1 are those of conlleval (entities of equal type and borders; an I that follows no entity of its type starts one).

Needs torch and transformers. Uses no network.
"""

import argparse
import json
import os
import random
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import AutoModelForTokenClassification, AutoTokenizer, get_linear_schedule_with_warmup

IGNORED = -100


def read(path):
    """Sentences as lists of (word, tag)."""
    sentences, words = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            columns = line.split()
            if not columns or columns[0] == "-DOCSTART-":
                sentences, words = sentences + [words] if words else sentences, []
            elif len(columns) < 2:
                sys.exit(f"{path}:{number}: a word without a tag")
            else:
                words.append((columns[0], columns[-1]))
    return [*sentences, words] if words else sentences


def windows(sentences, tokenizer, labels, max_length, path):
    """Inputs (ids, targets, sentence number), in file order: together they hold every word once."""
    room, known, inputs = max_length - 2, {}, []
    for number, sentence in enumerate(sentences):
        ids, targets = [], []
        for word, tag in sentence:
            if tag not in labels:
                sys.exit(f"{path}: tag `{tag}` does not occur in the training file, which has {labels}")
            if word not in known:
                pieces = tokenizer.tokenize(word)[:room] or [tokenizer.unk_token]
                known[word] = tokenizer.convert_tokens_to_ids(pieces)
            if len(ids) + len(known[word]) > room:
                inputs.append((ids, targets, number))
                ids, targets = [], []
            ids = ids + known[word]
            targets = targets + [labels.index(tag)] + [IGNORED] * (len(known[word]) - 1)
        inputs.append((ids, targets, number))
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    return [([cls, *ids, sep], [IGNORED, *targets, IGNORED], number) for ids, targets, number in inputs]


def padded(inputs, pad_id):
    width = max(len(ids) for ids, _, _ in inputs)
    ids = torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _, _ in inputs])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _, _ in inputs])
    targets = torch.tensor([targets + [IGNORED] * (width - len(targets)) for _, targets, _ in inputs])
    return ids, mask, targets


def batches(inputs, size, rng):
    """Batches of similar length in random order: shuffled, sorted by length within runs of 50 batches, cut, shuffled again."""
    order = rng.sample(inputs, len(inputs))
    runs = [sorted(order[i : i + 50 * size], key=lambda x: len(x[0])) for i in range(0, len(order), 50 * size)]
    cut = [run[i : i + size] for run in runs for i in range(0, len(run), size)]
    rng.shuffle(cut)
    return cut


def entities(tags):
    """Entities (type, start, end) of one sentence by conlleval's rules for B, I and O."""
    found, start, kind = [], None, None
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, this = tag.partition("-")
        if start is not None and (prefix != "I" or this != kind):
            found.append((kind, start, i))
            start = None
        if start is None and prefix != "O":
            start, kind = i, this
    return set(found)


def score(model, inputs, labels, pad_id):
    """Precision, recall and F1 of entities, and the accuracy of words, as fractions."""
    model.eval()
    gold, guessed = {}, {}
    by_length = sorted(range(len(inputs)), key=lambda i: len(inputs[i][0]))
    tags = [None] * len(inputs)
    with torch.no_grad():
        for i in range(0, len(by_length), 32):
            chosen = by_length[i : i + 32]
            ids, mask, targets = padded([inputs[j] for j in chosen], pad_id)
            best = model(input_ids=ids, attention_mask=mask).logits.argmax(-1)
            for row, j in enumerate(chosen):
                words = targets[row] != IGNORED
                tags[j] = targets[row][words].tolist(), best[row][words].tolist()
    for (_, _, number), (true, guess) in zip(inputs, tags):
        gold.setdefault(number, []).extend(labels[t] for t in true)
        guessed.setdefault(number, []).extend(labels[t] for t in guess)
    true = {(n, *e) for n, sentence in gold.items() for e in entities(sentence)}
    guess = {(n, *e) for n, sentence in guessed.items() for e in entities(sentence)}
    words = [a == b for n in gold for a, b in zip(gold[n], guessed[n])]
    precision = len(true & guess) / max(1, len(guess))
    recall = len(true & guess) / max(1, len(true))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    figures = {"precision": precision, "recall": recall, "f1": f1, "token_accuracy": sum(words) / len(words)}
    return {"entities": len(true), "words": len(words), **{k: round(v, 5) for k, v in figures.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "train", "dev", "test"):
        parser.add_argument(name)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--warmup", type=float, default=0.1, help="share of all steps over which the rate rises")
    parser.add_argument("--seed", type=int, default=42)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)

    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    sentences = {path: read(path) for path in (arguments.train, arguments.dev, arguments.test)}
    labels = sorted({tag for sentence in sentences[arguments.train] for _, tag in sentence})
    inputs = {path: windows(found, tokenizer, labels, arguments.max_length, path) for path, found in sentences.items()}
    train = inputs[arguments.train]
    model = AutoModelForTokenClassification.from_pretrained(arguments.model, num_labels=len(labels), dtype=torch.float32)

    norms = {id(p) for m in model.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()}
    kept = [p for k, p in model.named_parameters() if k.endswith("bias") or id(p) in norms]
    decayed = [p for k, p in model.named_parameters() if not (k.endswith("bias") or id(p) in norms)]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, eps=1e-8)
    steps = arguments.epochs * -(-len(train) // arguments.batch_size)
    scheduler = get_linear_schedule_with_warmup(optimizer, round(steps * arguments.warmup), steps)

    results, began = [], time.monotonic()
    for epoch in range(1, arguments.epochs + 1):
        model.train()
        total, start = 0.0, time.monotonic()
        cut = batches(train, arguments.batch_size, rng)
        for batch in cut:
            ids, mask, targets = padded(batch, tokenizer.pad_token_id)
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            total += loss.item()
        seconds = round(time.monotonic() - start, 1)
        dev = score(model, inputs[arguments.dev], labels, tokenizer.pad_token_id)
        results.append({"epoch": epoch, "train_loss": round(total / len(cut), 5), "train_seconds": seconds, **dev})
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)

    test = score(model, inputs[arguments.test], labels, tokenizer.pad_token_id)
    recipe = {k: v for k, v in vars(arguments).items() if k not in ("model", "train", "dev", "test")}
    counts = {"sentences": len(sentences[arguments.train]), "windows": len(train), "steps": steps, "labels": labels}
    about = {"model": arguments.model, "train": arguments.train, **recipe, **counts}
    print(json.dumps({**about, "dev": results, "test": test, "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
