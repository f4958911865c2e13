#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `lmprobe embed` with Hugging Face transformers, line by line.

    python tests/reference/compare_embed.py LMPROBE MODEL TEXTS [--lines 200] [--tolerance 1e-4]

Embeds the first lines of a text file with pooling `cls`, `mean` and `tokens` and the layers 0, the middle one and the last, and
compares every number with `AutoModel` (eager attention, float32, one text at a time, so that nothing is padded). The tables are read with
Polars and with PyArrow, which must agree exactly; the tensors are read with safetensors, the arrays with numpy. Ends with 1 if a
number differs by more than the tolerance or a token is another one.

Needs torch, transformers, safetensors, numpy, polars and pyarrow. Uses no network.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer


def reference(model_path, lines, layers):
    """Token ids, and hidden states (tokens, layers, hidden), of every line."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModel.from_pretrained(model_path, attn_implementation="eager", dtype=torch.float32).eval()
    ids, states = [], []
    with torch.no_grad():
        for line in lines:
            inputs = tokenizer(line, truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt")
            output = model(**inputs, output_hidden_states=True)
            ids.append(inputs["input_ids"][0].numpy())
            states.append(np.stack([output.hidden_states[layer][0].numpy() for layer in layers], axis=1))
    return ids, states


def table(path):
    """A Parquet table as Polars reads it, checked against what PyArrow reads."""
    frame, arrow = pl.read_parquet(path), pq.read_table(path)
    assert frame.columns == arrow.column_names and frame.height == arrow.num_rows, path
    for name in frame.columns:
        if name == "embedding":
            values = arrow[name].combine_chunks().flatten().to_numpy().reshape(frame.height, -1)
            assert np.array_equal(frame[name].to_numpy(), values), "Polars and PyArrow read different vectors"
        else:
            assert frame[name].to_list() == arrow[name].to_pylist(), f"Polars and PyArrow read different values of {name}"
    return frame


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lmprobe", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()

    lines = arguments.texts.read_text(encoding="utf-8").split("\n")[: arguments.lines]
    n_layers = AutoModel.from_pretrained(arguments.model).config.num_hidden_layers
    layers = [0, n_layers // 2, n_layers]
    ids, states = reference(arguments.model, lines, layers)
    pooled = {
        "cls": np.stack([state[0] for state in states]),
        "mean": np.stack([state.mean(axis=0, dtype=np.float64) for state in states]),
    }
    tokens = np.concatenate(states)
    worst = {}

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        texts = folder / "texts.txt"
        texts.write_text("\n".join(lines) + "\n", encoding="utf-8")

        def embed(pooling, ending):
            out = folder / f"{pooling}.{ending}"
            command = [arguments.lmprobe, "-q", "embed", arguments.model, texts, "-o", out]
            command += ["--pooling", pooling, "--layers", ",".join(map(str, [*layers[:2], -1]))]
            subprocess.run(command, check=True)
            return out

        for pooling, expected in pooled.items():
            frame = table(embed(pooling, "parquet"))
            assert frame["index"].to_list() == [i for i in range(len(lines)) for _ in layers]
            assert frame["layer"].to_list() == layers * len(lines)
            found = frame["embedding"].to_numpy().reshape(expected.shape)
            worst[pooling] = np.abs(found - expected).max()
            assert np.array_equal(load_file(embed(pooling, "safetensors"))["embeddings"], found)
            assert np.array_equal(np.load(embed(pooling, "npy")), found)

        frame = table(embed("tokens", "parquet"))
        found = frame["embedding"].to_numpy().reshape(tokens.shape)
        assert frame.filter(pl.col("layer") == 0)["id"].to_list() == np.concatenate(ids).tolist(), "other tokens"
        worst["tokens"] = np.abs(found - tokens).max()
        file = load_file(embed("tokens", "safetensors"))
        assert np.array_equal(file["embeddings"], found) and np.array_equal(file["ids"], np.concatenate(ids))
        assert np.array_equal(file["offsets"], np.cumsum([0, *map(len, ids)]))
        path = embed("tokens", "npy")
        assert np.array_equal(np.load(path, mmap_mode="r"), found) and np.array_equal(np.load(f"{path}.offsets.npy"), file["offsets"])

    print(f"{len(lines)} lines, {len(tokens)} tokens, layers {layers}; largest |value| {np.abs(tokens).max():.3f}")
    for pooling, difference in worst.items():
        print(f"  {pooling:7} largest difference {difference:.3g}")
    return int(max(worst.values()) > arguments.tolerance)


if __name__ == "__main__":
    sys.exit(main())
