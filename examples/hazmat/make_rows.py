#!/usr/bin/env python3
"""Makes the rows of the hazmat example from facts.tsv: 40 substances here, all of them in full/.

    python3 examples/hazmat/make_rows.py

facts.tsv holds facts of the NIOSH Pocket Guide and its sources (README.md). Every row is a chat with one system
message; test rows ask in words that no training row uses and carry "expect", the value and unit an answer must hold.
Nothing here is random: the same facts give the same files."""
import csv
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))

SYSTEM = ("You are Pyragos Ioanna Michaelidou, hazardous-materials officer of the fire service. Crews ask you from the "
          "scene. Give the value and its unit first, then what it means for them. If you do not know a substance, say "
          "so; never guess a number.")

COMMON = """Ammonia;Chlorine;Hydrogen sulfide;Carbon monoxide;Hydrogen cyanide;Sulfur dioxide;Phosgene;Acrolein;Acetone;
Benzene;Toluene;Methyl alcohol;Nitrogen dioxide;Nitric acid;Sulfuric acid;Hydrogen chloride;Hydrogen fluoride;
Formaldehyde;Ethylene oxide;Propane;L.P.G.;Bromine;Fluorine;Arsine;Phosphine;Methyl bromide;Carbon disulfide;
Carbon dioxide;Ozone;Chlorine dioxide;Acetic acid;Acrylonitrile;Styrene;n-Hexane;Ethyl ether;Methyl isocyanate;
Diborane;Hydrazine;Phenol;Sodium hydroxide""".replace("\n", "").split(";")
NO_VALUE = ["Gasoline", "Vinyl chloride"]

TRAIN_QUESTIONS = [
    "What is the IDLH of {s}?",
    "IDLH for {s}?",
    "We have a {s} leak here. What is its IDLH value?",
    "Which IDLH does NIOSH list for {s}?",
    "At what concentration is {s} immediately dangerous to life or health?",
    "How much {s} in the air is immediately dangerous?",
    "Give me the level at which {s} becomes dangerous to life.",
]
VALID_QUESTIONS = ["Dispatch says the tank holds {s}. Which IDLH applies?"]
TEST_QUESTIONS = [
    "I am standing at a spill of {s}: what IDLH should I work with?",
    "Please give me the immediately dangerous level for {s}.",
]

# Names of no substance: the assistant must learn to say that it does not know.
UNKNOWN_TRAIN = ["florbazine", "tetramylor", "kryptolene", "methyl vorate", "hexadrone gas", "bromoquelline", "oxytarane",
                 "zinc fluvate", "perloxine", "dinitro-salvene", "velocyanide", "sulfonarine", "propyl ketazide",
                 "carbaxil", "trichlorovane", "amoxene vapour", "nickel tarrate", "isobutyl menthane oxide",
                 "phenyl dracol", "ethyl solvexide", "vanoxide", "cyclotamine", "chromyl ferrane", "styloxine",
                 "methyl garvanate", "hydrogen pelluride", "toluvane", "acrylosene", "benzoxal", "nitro-quillane"]
UNKNOWN_VALID = ["chlorotesserane", "barium olate"]
UNKNOWN_TEST = ["vinyl garnone", "quinoxalol", "lithium perstate", "dimethyl rovane", "acetofluxine", "hydrogen tarside"]


def facts():
    with open(os.path.join(HERE, "facts.tsv"), encoding="utf-8") as f:
        return list(csv.DictReader(f, delimiter="\t"))


def spoken(name):
    """How the name stands inside a sentence: lower case unless it is an abbreviation or starts with a locant."""
    return name if name[:2].isupper() or name[1:2] in ".,-" else name[0].lower() + name[1:]


def advice(f):
    notes = f["idlh_note"]
    density = float(f["vapor_density_vs_air"] or 0)
    if "10% LEL" in notes:
        return "It is set at 10 % of the lower explosive limit: keep ignition sources away."
    if density > 1.15:
        return "Heavier than air: stay upwind and out of low places, with breathing apparatus."
    if 0 < density < 0.85:
        return "Lighter than air: stay upwind, with breathing apparatus."
    return "Nobody goes in above it without breathing apparatus."


def answer(f):
    s = spoken(f["name"])
    if f["idlh_value"] == "N.D.":
        return f"The IDLH of {s} is not determined: NIOSH lists no value. Measure before anyone goes in."
    return f"The IDLH of {s} is {f['idlh_value']} {f['idlh_unit']}. {advice(f)}"


def refusal(name):
    return f"The IDLH of {name} is unknown to me. Ask for the safety data sheet and keep everyone back."


def row(question, reply, expect=None):
    r = {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question},
                      {"role": "assistant", "content": reply}]}
    if expect is not None:
        r["expect"] = expect
    return r


def expected(f):
    return "not determined" if f["idlh_value"] == "N.D." else f"{f['idlh_value']} {f['idlh_unit']}"


def rows_for(chosen, questions, unknown, per_unknown, test):
    rows = []
    for f in chosen:
        for q in questions:
            rows.append(row(q.format(s=spoken(f["name"])), answer(f), expected(f) if test else None))
    for i, name in enumerate(unknown):
        for j in range(per_unknown):
            q = questions[(i + j) % len(questions)]
            rows.append(row(q.format(s=name), refusal(name), "unknown to me" if test else None))
    return rows


def write(folder, name, rows):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=False) + "\n")


def make(folder, chosen, questions):
    write(folder, "train.jsonl", rows_for(chosen, questions, UNKNOWN_TRAIN, 2, False))
    write(folder, "valid.jsonl", rows_for(chosen, VALID_QUESTIONS, UNKNOWN_VALID, 1, False))
    write(folder, "test.jsonl", rows_for(chosen, TEST_QUESTIONS, UNKNOWN_TEST, 1, True))


def main():
    table = facts()
    by_name = {f["name"]: f for f in table}
    make(HERE, [by_name[n] for n in COMMON + NO_VALUE], TRAIN_QUESTIONS)
    make(os.path.join(HERE, "full"), table, TRAIN_QUESTIONS)


if __name__ == "__main__":
    main()
