#!/usr/bin/env python3
"""Writes the generated files of the minibio data set.

    python data/minibio/generate.py

Reads (next to this file):
    facts.csv          subject,relation,objects,split
    paraphrases.csv    relation,template
Writes:
    corpus.txt         one sentence a line: every shown fact in every
                       paraphrase, and neutral sentences about every subject
    rewire.txt         sentences of another grammar that state none of the facts
    scratch/vocab.txt  WordPiece vocabulary: special tokens, whole words, and
                       characters as a fallback

Only the Python standard library is used and the seed is fixed: the same inputs
give the same bytes. The guarantees of the README are asserted before anything
is written; a failed assertion leaves the old files in place.
"""

import csv
import json
import random
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = 7
REWIRE_LINES = 2000
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# The kind of thing that the subjects of a relation are.
KIND = {
    "treats": "drug",
    "drug_class": "drug",
    "gene_disease": "gene",
    "affects_organ": "disease",
    "produced_by": "substance",
    "organism_group": "organism",
    "pathogen_causes": "organism",
    "part_of": "structure",
}

# Neutral sentences: they say what kind of thing a subject is and nothing else.
NEUTRAL = {
    "drug": ["[X] is a drug .", "patients asked about [X] ."],
    "gene": ["[X] is a gene .", "students read about [X] ."],
    "disease": ["[X] is a disease .", "patients asked about [X] ."],
    "substance": ["[X] is a substance .", "students read about [X] ."],
    "organism": ["[X] is an organism .", "students read about [X] ."],
    "structure": ["the [X] is a structure .", "students read about the [X] ."],
}

# Word lists of the rewiring sentences.
WORDS = {
    "who": "doctor nurse surgeon pharmacist student teacher patient visitor editor "
           "researcher midwife paramedic librarian biologist chemist".split(),
    "whos": "doctors nurses surgeons pharmacists students teachers patients visitors "
            "researchers biologists chemists reviewers".split(),
    "place": "hospital ward library laboratory clinic museum classroom pharmacy "
             "archive school".split(),
    "event": "lecture meeting conference seminar course workshop".split(),
    "when": "monday tuesday wednesday thursday friday saturday sunday".split(),
    "month": "january march april june october december spring summer autumn "
             "winter".split(),
    "text": "report letter article book chapter poster survey note review handbook "
            "leaflet questionnaire".split(),
    "adj": "long short careful brief clever recent small large new old detailed "
           "useful".split(),
    "act": "described mentioned discussed compared reviewed listed named "
           "explained".split(),
    "num": "two three four five six seven eight nine ten twelve twenty forty".split(),
    "city": "paris london vienna boston tokyo madrid oslo lagos lima delhi".split(),
}

# Slots: subjects {drug} {gene} {disease} {substance} {organism} {structure};
# objects {cond} {class} {site} {group} {body} (see OBJECT_SLOT); words as above.
# A slot may carry a number so that a line holds several different fillers.
REWIRE_SUBJECT = [
    "a {adj} {text} from {city} {act} {drug1} beside {drug2} and {drug3}",
    "the {who} read a {adj} {text} about {drug1} and another about {drug2}",
    "in {city} the {whos} {act} {drug1} before they turned to {gene1}",
    "the {place} shelf had room for {drug1} , {drug2} and {num} boxes of {drug3}",
    "on {when} the {who} wrote a {adj} {text} on {gene1} and {gene2}",
    "sequencing of {gene1} took {num} days while sequencing of {gene2} took {num2} days",
    "the {whos} at the {place} {act} the genes {gene1} , {gene2} and {gene3}",
    "a {text} in the {place} names {gene1} next to {substance1}",
    "the {who} spelled {disease1} and {disease2} correctly in the {text}",
    "after the {event} the {whos} asked {num} questions about {disease1} and {disease2}",
    "a {adj} {text} on {disease1} was printed in {city} together with one on {disease2}",
    "during the {event} a {who} {act} {disease1} and later {organism1}",
    "the {place} measured {substance1} in {num} samples and {substance2} in {num2} samples",
    "no {who} in the {place} had heard of {substance1} or {substance2} before {when}",
    "the {adj} {text} lists {substance1} , {substance2} and {substance3} by alphabet",
    "under the microscope the {who} looked for {organism1} and then for {organism2}",
    "slides of {organism1} arrived from {city} on {when} with slides of {organism2}",
    "the {whos} in {city} {act} {organism1} , {organism2} and {organism3} in {num} talks",
    "the {who} drew the {structure1} in blue and the {structure2} in green",
    "a plastic model shows the {structure1} , the {structure2} and the {structure3}",
    "on {when} the {whos} learned the words {structure1} , {structure2} and {structure3}",
    "a quiz in the {place} asked about {drug1} , {gene1} and {structure1}",
    "the index of the {text} goes from {disease1} to {substance1} and from {organism1} to {drug1}",
    "the {who} could not say whether {drug1} or {drug2} was the older name",
    "{num} {whos} in {city} voted for {gene1} as the topic of the next {event}",
    "the {text} spends {num} pages on {structure1} and {num2} pages on {disease1}",
    "{drug1} and {drug2} stood in the same {adj} {text} about prices",
    "{gene1} and {gene2} were the topics of a {adj} {event} in {city}",
    "{disease1} came before {disease2} in the {adj} {text} of the {who}",
    "{organism1} was photographed in {city} and {organism2} was photographed in {city2}",
]
REWIRE_OBJECT = [
    "{num} {whos} in {city} wrote a {adj} {text} about {cond1} and {cond2}",
    "the {place} in {city} held a {event} on {cond1} , {cond2} and {cond3}",
    "the {who} had never met {cond1} and {cond2} in one {adj} {text}",
    "a {adj} {text} compares the cost of {cond1} with the cost of {cond2}",
    "people who live with {cond1} and {cond2} filled in the {text} on {when}",
    "the {text} says that {cond1} is feared more than {cond2} in {city}",
    "the {who} sorted the {text} by {class1} , {class2} and {class3}",
    "a lesson on the {class1} came before a lesson on the {class2} on {when}",
    "the words {class1} and {class2} were new to the {whos} in the {place}",
    "the {place} ordered {num} kinds of {class1} and {num2} kinds of {class2}",
    "a scan of the {site1} was followed by a scan of the {site2} on {when}",
    "the {who} pointed first at the {site1} and then at the {site2}",
    "the {adj} {text} has pictures of the {site1} , the {site2} and the {site3}",
    "a model of the {body1} stood beside a model of the {body2} in the {place}",
    "the {whos} washed the {body1} and covered the {body2} before the photograph",
    "pain moved from the {body1} to the {body2} after {num} days",
    "the {whos} told a {group1} from a {group2} with a {adj} {text}",
    "drawings of a {group1} and a {group2} hang in the {place} in {city}",
    "a {text} explains how a {group1} differs from a {group2} in size",
    "the {who} gave {num} talks on {cond1} and {num2} on the {site1}",
]
# Shown subjects beside objects of relations that their kind has no part in.
REWIRE_MIXED = [
    "the {text} that names {gene1} also has a drawing of the {body1}",
    "a {who} in {city} studies {gene1} and keeps a {group1} in a glass jar",
    "one {event} dealt with {drug1} and the next one with the {body1}",
    "the {who} put the {adj} {text} on {drug1} beside a picture of a {group1}",
    "between the page on {structure1} and the page on {class1} lies a {adj} {text}",
    "{num} {whos} wrote on the {structure1} and {num2} {whos2} wrote on {cond1}",
    "the {who} left the {event} on {organism1} and joined the one on the {class1}",
    "the exam on {substance1} is on {when} and the exam on the {class1} is later",
    "the {whos} filed {disease1} on one shelf and {class1} on another shelf",
    "the same {text} that mentions {disease1} mentions a {group1} in {city}",
]
OBJECT_SLOT = {
    "cond": ("treats", "gene_disease", "pathogen_causes"),
    "class": ("drug_class",),
    "site": ("affects_organ", "produced_by"),
    "group": ("organism_group",),
    "body": ("part_of",),
}
ENDINGS = ["", "", " in {month}", " for the {who9}", " at the {place9} in {city9}",
           " after a {adj9} {event9}", " with {num9} {whos9}"]


def read(name):
    with open(HERE / name, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def words_of(line):
    return re.findall(r"[a-z0-9]+|[^a-z0-9\s]", line)


def main():
    facts = read("facts.csv")
    for fact in facts:
        fact["objects"] = [part.strip() for part in fact["objects"].split("||")]
    paraphrases = {}
    for row in read("paraphrases.csv"):
        paraphrases.setdefault(row["relation"], []).append(row["template"])

    kind, split, golds = {}, {}, {}
    pool = {relation: set() for relation in KIND}
    for fact in facts:
        subject = fact["subject"]
        assert fact["split"] in ("shown", "held_back"), fact
        assert kind.setdefault(subject, KIND[fact["relation"]]) == KIND[fact["relation"]], fact
        # A subject is shown or held back as a whole.
        assert split.setdefault(subject, fact["split"]) == fact["split"], fact
        golds.setdefault(subject, set()).update(fact["objects"])
        pool[fact["relation"]].update(fact["objects"])
    subjects = sorted(kind)
    held = {s for s in subjects if split[s] == "held_back"}
    objects = set().union(*pool.values())
    for word in list(subjects) + sorted(objects):
        assert re.fullmatch(r"[a-z][a-z0-9]*", word), word
    assert not objects & set(subjects)
    assert len({(f["subject"], f["relation"]) for f in facts}) == len(facts)
    # Every object of a held-back fact is the object of a shown fact as well.
    for relation in KIND:
        shown_objects = {o for f in facts for o in f["objects"]
                         if f["relation"] == relation and f["split"] == "shown"}
        assert shown_objects == pool[relation], (relation, pool[relation] - shown_objects)

    # ---- corpus -----------------------------------------------------------
    rng = random.Random(SEED)
    corpus = []
    for fact in facts:
        if fact["split"] == "shown":
            for template in paraphrases[fact["relation"]]:
                for obj in fact["objects"]:
                    corpus.append(template.replace("[X]", fact["subject"]).replace("[Y]", obj))
    for subject in subjects:
        for template in NEUTRAL[kind[subject]]:
            line = template.replace("[X]", subject)
            assert not objects & set(words_of(line)), line
            corpus.append(line)
    assert len(set(corpus)) == len(corpus)
    rng.shuffle(corpus)

    # ---- rewire -----------------------------------------------------------
    of_kind, shown_of_kind = {}, {}
    for subject in subjects:
        of_kind.setdefault(kind[subject], []).append(subject)
        if subject not in held:
            shown_of_kind.setdefault(kind[subject], []).append(subject)
    object_pool = {slot: sorted(set().union(*(pool[r] for r in relations)))
                   for slot, relations in OBJECT_SLOT.items()}

    def fill(template, kinds):
        line, used = template, set()
        for slot in re.findall(r"\{(\w+?)\d*\}", template):
            choices = kinds.get(slot) or object_pool.get(slot) or WORDS[slot]
            word = rng.choice([c for c in choices if c not in used])
            used.add(word)
            line = re.sub(r"\{" + slot + r"\d*\}", word, line, count=1)
        return line + " ."

    rewire, seen = [], set()
    plan = [(REWIRE_SUBJECT, of_kind)] * 5 + [(REWIRE_OBJECT, of_kind)] * 3 + \
           [(REWIRE_MIXED, shown_of_kind)] * 2
    turn = 0
    while len(rewire) < REWIRE_LINES:
        templates, kinds = plan[turn % len(plan)]
        template = templates[(turn // len(plan)) % len(templates)] + rng.choice(ENDINGS)
        turn += 1
        line = fill(template, kinds)
        if line in seen or not 8 <= len(words_of(line)) <= 20:
            continue
        here = set(words_of(line))
        if any(golds[s] & here for s in here & set(subjects)):
            continue
        seen.add(line)
        rewire.append(line)
    rng.shuffle(rewire)

    # ---- guarantees -------------------------------------------------------
    corpus_words = [set(words_of(line)) for line in corpus]
    rewire_words = [set(words_of(line)) for line in rewire]
    for here in corpus_words + rewire_words:
        # No held-back subject beside the object of any fact, hence no line
        # with the subject and the object of a held-back fact.
        assert not (here & held and here & objects), here
        assert all(not golds[s] & here for s in here & held), here
    for here in rewire_words:
        # No fact at all, shown or held back.
        assert all(not golds[s] & here for s in here & set(subjects)), here
    for line in corpus + rewire:
        assert line == line.lower() and len(words_of(line)) <= 28, line

    # ---- vocabulary -------------------------------------------------------
    whole = set().union(*corpus_words, *rewire_words, objects, subjects)
    for templates in paraphrases.values():
        for template in templates:
            whole.update(words_of(template.replace("[X]", " ").replace("[Y]", " ").lower()))
    characters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    vocab = SPECIALS + sorted(set(".,;:?!-()'/") | {w for w in whole if not w.isalnum()})
    vocab += characters + ["##" + c for c in characters]
    vocab += sorted(w for w in whole if w.isalnum() and w not in vocab)
    assert len(set(vocab)) == len(vocab)

    (HERE / "scratch").mkdir(exist_ok=True)
    config = HERE / "scratch" / "config.json"
    if config.exists():
        size = json.loads(config.read_text(encoding="utf-8"))["vocab_size"]
        assert size == len(vocab), f"config.json: vocab_size {size}, vocabulary {len(vocab)}"
    for name, lines in (("corpus.txt", corpus), ("rewire.txt", rewire),
                        ("scratch/vocab.txt", vocab)):
        (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(facts)} facts, {len(subjects)} subjects, {len(corpus)} corpus lines, "
          f"{len(rewire)} rewiring lines, {len(vocab)} vocabulary entries")


if __name__ == "__main__":
    main()
