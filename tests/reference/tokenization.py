#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the tokenizers of this project with those of transformers on real biomedical text.

    python tests/reference/tokenization.py make SHARED OUT [--uncased VOCAB_TXT] [--gpt2 FOLDER]
    python tests/reference/tokenization.py compare OUT      # needs `cargo build --release --example tokenize -p lmprobe-plugins`

`make` picks 10 000 lines from the data under SHARED (sentences of PubMed and Wikipedia, sentences of NER corpora, names of MedLAMA),
trains vocabularies of real size on other lines of the same data, and writes for each tokenizer below OUT a folder as a model has it,
with `ids.jsonl`: what transformers makes of every line and of 2 000 pairs of lines. `compare` runs the example on the same lines
and counts differences. --uncased adds a vocabulary that was released; --gpt2 adds a folder with the vocab.json and merges.txt of GPT-2.

Made with transformers 5.23.0, tokenizers 0.23.3, sacremoses 0.2.0.
"""

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

N_LINES, N_PAIRS, PAIR_LIMIT = 10_000, 2_000, 48


def sentences(shared):
    """Lines of running text, as they are."""
    for path in sorted((shared / "elicit_corpora").iterdir()):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                yield line


def ner(shared):
    """Sentences of the NER corpora, their tokens joined by spaces; these have case and punctuation."""
    for path in sorted((shared / "ner").glob("*/*.tsv")):
        words = []
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line.strip():
                words.append(line.split("\t")[0])
            elif words:
                yield " ".join(words)
                words = []


def names(shared):
    """Names of concepts."""
    for path in sorted((shared / "medlama" / "2021AA").glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield row["head_name"]
                yield from row["tail_names"].split(" || ")


def pick(shared):
    """The lines to compare, and the rest to train vocabularies on."""
    rng = random.Random(20)
    chosen, rest = [], []
    for source, share in ((sentences, 0.35), (ner, 0.45), (names, 0.20)):
        lines = sorted(set(source(shared)))
        rng.shuffle(lines)
        n = round(N_LINES * share)
        chosen += lines[:n]
        rest += lines[n : n + 60_000]
    rng.shuffle(chosen)
    return chosen, rest


def train_wordpiece(lines, folder):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=False)
    tokenizer.train_from_iterator(lines, vocab_size=28_996, show_progress=False)
    write_vocab_txt(tokenizer.get_vocab(), folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}\n')


def write_vocab_txt(vocab, folder):
    pieces = sorted(vocab, key=vocab.get)
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8")


def train_byte_level(lines, folder, specials):
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(lines, vocab_size=30_000, special_tokens=specials, show_progress=False)
    tokenizer.save_model(str(folder))


def train_biogpt(lines, folder):
    """Learns merges over Moses tokens; fairseq's files have counts in the third column and a dictionary with the specials first."""
    from sacremoses import MosesTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    moses = MosesTokenizer(lang="en")
    tokenized = [" ".join(moses.tokenize(line, aggressive_dash_splits=True, escape=True)) for line in lines]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=30_000, special_tokens=specials, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(tokenized, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    with open(folder / "merges.txt", "w", encoding="utf-8") as file:
        for rank, (first, second) in enumerate(merges):
            file.write(f"{first} {second} {len(merges) - rank}\n")
    # A dictionary holds what occurs in a corpus after all merges, so that it lacks some results of merges; here every seventh of
    # those that are no whole word.
    dropped = {first + second for first, second in merges[::7] if not second.endswith("</w>")}
    pieces = [piece for piece in sorted(model["vocab"], key=model["vocab"].get) if piece not in dropped]
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(pieces)}, ensure_ascii=False), encoding="utf-8")


def make(arguments):
    from transformers import BertTokenizer, BioGptTokenizer, GPT2Tokenizer, RobertaTokenizer

    out = arguments.out
    chosen, rest = pick(arguments.shared)
    rng = random.Random(21)
    pairs = [[rng.choice(chosen), rng.choice(chosen)] for _ in range(N_PAIRS)]
    out.mkdir(parents=True, exist_ok=True)
    rows = [[line, None] for line in chosen] + pairs
    with open(out / "texts.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    folders = {}

    def folder(name, kind, tokenizer_class):
        path = out / name
        path.mkdir(exist_ok=True)
        folders[name] = (path, kind, tokenizer_class)
        return path

    train_wordpiece(rest, folder("wordpiece-cased", "word-piece", BertTokenizer))
    train_byte_level(rest, folder("gpt2", "gpt2", GPT2Tokenizer), ["<|endoftext|>"])
    train_byte_level(rest, folder("roberta", "roberta", RobertaTokenizer), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    spaced = folder("roberta-prefix-space", "roberta", RobertaTokenizer)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(out / "roberta" / file, spaced)
    (spaced / "tokenizer_config.json").write_text('{"add_prefix_space": true}\n')
    train_biogpt(rest, folder("biogpt", "bio-gpt", BioGptTokenizer))
    if arguments.uncased:
        path = folder("wordpiece-uncased", "word-piece", BertTokenizer)
        shutil.copy(arguments.uncased, path / "vocab.txt")
        (path / "tokenizer_config.json").write_text('{"do_lower_case": true}\n')
    if arguments.gpt2:
        path = folder("gpt2-released", "gpt2", GPT2Tokenizer)
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(arguments.gpt2 / file, path)

    for name, (path, kind, tokenizer_class) in folders.items():
        tokenizer = tokenizer_class.from_pretrained(str(path))
        (path / "kind.txt").write_text(kind + "\n")
        with open(path / "ids.jsonl", "w", encoding="utf-8") as file:
            for first, second in rows:
                cut = {} if second is None else {"truncation": "longest_first", "max_length": PAIR_LIMIT}
                file.write(json.dumps(tokenizer(first, second, **cut)["input_ids"]) + "\n")
        print(name, "reference written", flush=True)


def compare(arguments):
    binary = Path(__file__).resolve().parents[2] / "target" / "release" / "examples" / "tokenize"
    failed = False
    for kind_file in sorted(arguments.out.glob("*/kind.txt")):
        folder = kind_file.parent
        command = [arguments.binary or binary, folder, kind_file.read_text().strip(), arguments.out / "texts.jsonl", str(PAIR_LIMIT)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        got = done.stdout.splitlines()
        expected = (folder / "ids.jsonl").read_text().splitlines()
        texts = (arguments.out / "texts.jsonl").read_text(encoding="utf-8").split("\n")
        differing = [i for i, (a, b) in enumerate(zip(got, expected)) if json.loads(a) != json.loads(b)]
        missing = abs(len(got) - len(expected))
        tokens = sum(len(json.loads(line)) for line in expected)
        print(f"{folder.name}: {len(expected)} lines, {tokens} tokens, {len(differing) + missing} differing; {done.stderr.strip()}")
        for i in differing[:5]:
            print("   ", texts[i], "\n      reference", expected[i], "\n      here     ", got[i])
        failed |= bool(differing or missing)
    sys.exit(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.add_argument("shared", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--uncased", type=Path)
    command.add_argument("--gpt2", type=Path)
    command.set_defaults(run=make)
    command = commands.add_parser("compare")
    command.add_argument("out", type=Path)
    command.add_argument("--binary", type=Path)
    command.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
