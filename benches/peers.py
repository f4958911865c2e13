#!/usr/bin/env python3
"""The peers' side of the benchmarks: workers for interleave.py on torch and transformers (and onnxruntime for `ort`).

  peers.py model DIR TOKENIZER_DIR          writes BERT-base with random weights (seed 0), with the tokenizer of another folder
  peers.py encode MODEL TEXTS N sorted|unsorted eager|sdpa f32|autocast|bf16      last hidden states, batches of 32, at most 128 tokens
  peers.py ort ONNX_FILE MODEL TEXTS N sorted|unsorted                            the same in onnxruntime
  peers.py onnx MODEL OUT                                                         exports the encoder for it, fused by onnxruntime's optimizer
  peers.py train MODEL drop|nodrop f32|autocast                                   a step on 32 sequences of 48 tokens
  peers.py rewire MODEL PAIRS drop|nodrop f32|autocast                            a step of the contrastive objective on pairs from `worker pairs`
  peers.py probe MODEL MEDLAMA                                                    retrieval on MedLAMA, from `worker medlama`
  peers.py nearest QUESTIONS CANDIDATES WIDTH                                     ten nearest candidates of each question, without ranks

`autocast` is torch.autocast to bfloat16, `bf16` are weights in bfloat16. NT is the number of threads (2). Batches are tokenized before the clock
starts, except by `probe`, which tokenizes, encodes sorted by length and ranks. Checksums are those of benches/worker."""

import json
import os
import sys
import time

THREADS = int(os.environ.get("NT", "2"))


def serve(work):
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        start = time.perf_counter()
        checksum = work()
        print(f"{time.perf_counter() - start:.6f} {checksum:.6f}", flush=True)


def tokenizer_of(model):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokenizer.no_padding()
    return tokenizer


def padded(sequences):
    longest = max(map(len, sequences))
    ids = [ids + [0] * (longest - len(ids)) for ids in sequences]
    return ids, [[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences]


def batches(model, path, n, order, size=32):
    tokenizer = tokenizer_of(model)
    tokenizer.enable_truncation(128)
    with open(path, encoding="utf-8") as file:
        texts = [line.strip() for line in file][:n]
    sequences = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    if order == "sorted":
        sequences.sort(key=len)
    return [padded(sequences[start : start + size]) for start in range(0, n, size)]


def ort(file, model, texts, n, order):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", os.environ.get("SPIN", "0"))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    given = [[numpy.array(values, dtype=numpy.int64) for values in batch] for batch in batches(model, texts, int(n), order)]

    def work():
        total = 0.0
        for ids, mask in given:
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
            states = session.run(None, {name: feed[name] for name in names})[0]
            total += float(numpy.abs(states[:, :1]).sum())
        return total

    serve(work)


def encode(model, texts, n, order, attention, dtype):
    import torch
    from transformers import BertModel

    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    network = BertModel.from_pretrained(model, attn_implementation=attention, add_pooling_layer=False, dtype=kind).eval()
    given = [[torch.tensor(values) for values in batch] for batch in batches(model, texts, int(n), order)]

    def work():
        total = 0.0
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "autocast"):
            for ids, mask in given:
                total += float(network(input_ids=ids, attention_mask=mask).last_hidden_state[:, :1].float().abs().sum())
        return total

    serve(work)


def trained(model, dropout):
    import torch
    from transformers import BertModel

    rates = {} if dropout == "drop" else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    network = BertModel.from_pretrained(model, attn_implementation="sdpa", add_pooling_layer=False, dtype=torch.float32, **rates).train()
    return network, torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.01, fused=True)


def step(network, optimiser, dtype, inputs, loss_of):
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "autocast"):
        states = [network(input_ids=ids, attention_mask=mask).last_hidden_state for ids, mask in inputs]
    loss = loss_of([state.float() for state in states])
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    return float(loss.detach())


def train(model, dropout, dtype):
    import torch

    network, optimiser = trained(model, dropout)
    ids = torch.tensor([(index * 7919) % 30000 for index in range(32 * 48)]).view(32, 48)
    mask = torch.ones(32, 48, dtype=torch.long)

    def loss_of(states):
        unit = torch.nn.functional.normalize(states[0].mean(1), dim=1)
        return torch.nn.functional.cross_entropy(unit[:16] @ unit[16:].T * 20, torch.arange(16))

    serve(lambda: step(network, optimiser, dtype, [(ids, mask)], loss_of))


def rewire(model, pairs, dropout, dtype):
    import torch

    network, optimiser = trained(model, dropout)
    with open(pairs) as file:
        views = json.load(file)
    inputs = [tuple(torch.tensor(values) for values in padded(views[side])) for side in "ab"]

    def loss_of(states):
        unit = torch.nn.functional.normalize(torch.cat([state[:, 0] for state in states]), dim=1)
        similarity = unit @ unit.T / 0.04
        similarity.fill_diagonal_(-1e9)
        half = len(unit) // 2
        return torch.nn.functional.cross_entropy(similarity, torch.arange(2 * half).roll(half))

    serve(lambda: step(network, optimiser, dtype, inputs, loss_of))


def probe(model, medlama, size=64):
    import torch
    from transformers import BertModel

    network = BertModel.from_pretrained(model, attn_implementation="sdpa", add_pooling_layer=False, dtype=torch.float32).eval()
    with open(medlama) as file:
        data = json.load(file)
    place = {name: index for index, name in enumerate(data["candidates"])}
    golds = [[place[gold] for gold in golds if gold in place] for golds in data["golds"]]

    def vectors(texts, limit):
        tokenizer = tokenizer_of(model)
        tokenizer.enable_truncation(limit)
        sequences = [tuple(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
        distinct = sorted(set(sequences), key=lambda ids: (len(ids), ids))
        rows = {ids: row for row, ids in enumerate(distinct)}
        states = []
        for start in range(0, len(distinct), size):
            ids, mask = (torch.tensor(values) for values in padded([list(ids) for ids in distinct[start : start + size]]))
            states.append(network(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0])
        return torch.cat(states)[[rows[ids] for ids in sequences]]

    def work():
        with torch.inference_mode():
            questions, candidates = vectors(data["questions"], 50), vectors(data["candidates"], 25)
            squares, hits = (candidates * candidates).sum(1), 0
            for start in range(0, len(questions), 256):
                distances = squares - 2 * questions[start : start + 256] @ candidates.T
                nearest = distances.topk(10, largest=False).indices.tolist()
                hits += sum(bool(set(found) & set(right)) for found, right in zip(nearest, golds[start : start + 256]))
        return hits / len(questions)

    serve(work)


def nearest(questions, candidates, width):
    import numpy
    import torch

    questions, candidates, width = int(questions), int(candidates), int(width)

    def scattered(n, first):
        hashes = numpy.arange(first, first + n, dtype=numpy.uint32) * numpy.uint32(2654435761)
        hashes = (hashes ^ (hashes >> 15)) * numpy.uint32(2246822519)
        hashes ^= hashes >> 13
        return torch.tensor((hashes / 2**32 - 0.5).astype(numpy.float32)).view(-1, width)

    known, asked = scattered(candidates * width, 0), scattered(questions * width, candidates * width)

    def work():
        squares, total = (known * known).sum(1), 0
        for start in range(0, questions, 256):
            found = (squares - 2 * asked[start : start + 256] @ known.T).topk(10, largest=False).indices
            total += int(found[:, 0].sum())
        return total / questions

    serve(work)


def random_model(folder, tokenizer):
    import shutil

    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(), add_pooling_layer=False).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(os.path.join(tokenizer, name), folder)


def export(model, out):
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import BertModel

    network = BertModel.from_pretrained(model, attn_implementation="eager", add_pooling_layer=False, dtype=torch.float32).eval()

    class States(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, ids, mask, types):
            return self.network(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "token_type_ids", "last_hidden_state")}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(States(), (ids, ids, ids * 0), out, input_names=names, output_names=["last_hidden_state"], dynamic_axes=axes, opset_version=17, dynamo=False)
    config = network.config
    fused = optimizer.optimize_model(out, "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size)
    fused.save_model_to_file(out)
    print(fused.get_fused_operator_statistics())


def main():
    commands = {"encode": encode, "ort": ort, "train": train, "rewire": rewire, "probe": probe, "nearest": nearest, "model": random_model, "onnx": export}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    if sys.argv[1] not in ("ort",):
        import torch

        torch.set_num_threads(THREADS)
    commands[sys.argv[1]](*sys.argv[2:])


main()
