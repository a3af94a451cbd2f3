"""The sentences the demo model was trained on, all written for Patinox.

Each topic is a function that draws a question and its answer; `make_conversation` puts them
together. `python corpus.py` shows some.
"""

import random

from tools_corpus import json_conversation, tool_conversation

COLOURS = {
    "the sky": "blue",
    "grass": "green",
    "the sun": "yellow",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "a banana": "yellow",
    "a lemon": "yellow",
    "a tomato": "red",
    "an orange": "orange",
    "a carrot": "orange",
    "a cherry": "red",
    "chocolate": "brown",
    "milk": "white",
    "the sea": "blue",
    "a leaf": "green",
    "a flamingo": "pink",
    "an elephant": "grey",
    "a crow": "black",
    "a frog": "green",
    "a plum": "purple",
    "a strawberry": "red",
    "a cloud": "white",
    "wood": "brown",
    "a pig": "pink",
    "a polar bear": "white",
    "an aubergine": "purple",
    "a cucumber": "green",
    "the night": "black",
    "a pumpkin": "orange",
    "a mouse": "grey",
    "a swan": "white",
    "salt": "white",
    "a fire engine": "red",
    "coffee": "brown",
    "a pea": "green",
}
MIXTURES = {
    ("blue", "yellow"): "green",
    ("red", "yellow"): "orange",
    ("red", "blue"): "purple",
    ("red", "white"): "pink",
    ("black", "white"): "grey",
    ("red", "green"): "brown",
}
COLOUR_NAMES = [
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "grey",
]
# name: sound, legs, young, food, home, whether it flies
ANIMALS = {
    "dog": ("woof", 4, "puppy", "meat", "a house", 0),
    "cat": ("meow", 4, "kitten", "fish", "a house", 0),
    "cow": ("moo", 4, "calf", "grass", "a farm", 0),
    "duck": ("quack", 2, "duckling", "water plants", "a pond", 1),
    "sheep": ("baa", 4, "lamb", "grass", "a farm", 0),
    "horse": ("neigh", 4, "foal", "hay", "a stable", 0),
    "pig": ("oink", 4, "piglet", "corn", "a farm", 0),
    "hen": ("cluck", 2, "chick", "seeds", "a farm", 0),
    "frog": ("ribbit", 4, "tadpole", "flies", "a pond", 0),
    "lion": ("roar", 4, "cub", "meat", "the grassland", 0),
    "bee": ("buzz", 6, "larva", "nectar", "a hive", 1),
    "owl": ("hoot", 2, "owlet", "mice", "a tree", 1),
    "mouse": ("squeak", 4, "pup", "seeds", "a hole", 0),
    "wolf": ("howl", 4, "pup", "meat", "the forest", 0),
    "snake": ("hiss", 0, "snakelet", "mice", "the grass", 0),
    "crow": ("caw", 2, "chick", "seeds", "a tree", 1),
    "bear": ("growl", 4, "cub", "berries", "the forest", 0),
    "goat": ("bleat", 4, "kid", "leaves", "a farm", 0),
    "spider": (None, 8, "spiderling", "flies", "a web", 0),
    "fish": (None, 0, "fry", "water plants", "the sea", 0),
    "rabbit": (None, 4, "kit", "carrots", "a burrow", 0),
    "butterfly": (None, 6, "caterpillar", "nectar", "a garden", 1),
    "elephant": ("trumpet", 4, "calf", "leaves", "the grassland", 0),
    "penguin": (None, 2, "chick", "fish", "the ice", 0),
    "ant": (None, 6, "larva", "crumbs", "an anthill", 0),
    "eagle": ("screech", 2, "eaglet", "fish", "the mountains", 1),
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
MONTH_LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
OPPOSITES = {
    "big": "small",
    "hot": "cold",
    "up": "down",
    "fast": "slow",
    "day": "night",
    "happy": "sad",
    "open": "closed",
    "wet": "dry",
    "light": "dark",
    "hard": "soft",
    "old": "new",
    "full": "empty",
    "left": "right",
    "loud": "quiet",
    "high": "low",
    "early": "late",
    "long": "short",
    "clean": "dirty",
    "yes": "no",
    "start": "stop",
    "inside": "outside",
    "near": "far",
}
NAMES = [
    "Ana",
    "Ben",
    "Clara",
    "David",
    "Eva",
    "Felix",
    "Grace",
    "Hugo",
    "Ida",
    "Jan",
    "Kim",
    "Leo",
    "Maria",
    "Nina",
    "Omar",
    "Paul",
    "Rosa",
    "Sam",
    "Tom",
    "Uma",
    "Vera",
    "Will",
    "Yara",
    "Zoe",
    "Alex",
    "Max",
    "Lena",
    "Noah",
    "Mia",
    "Ivan",
]
WORDS = (
    "apple river stone window garden music paper bridge candle forest mirror pencil silver summer ticket winter yellow basket "
    "button castle dragon engine flower guitar hammer island jacket kettle ladder market needle ocean pepper rabbit sailor table "
    "umbrella violin wagon zebra cat dog sun moon tree book lamp chair house bread"
).split()

FACTS = [  # the question in several wordings, the answer
    (
        [
            "what is a local model",
            "what is a local llm",
            "explain local models",
            "what does local model mean",
            "what are local models",
        ],
        "A local model is a language model that runs on your own computer, so your text does not leave it.",
    ),
    (
        [
            "why should I use a local model",
            "why use a local model",
            "what are the benefits of local models",
            "why run a model locally",
        ],
        "Local models are private, they work offline, and there is no bill for each token.",
    ),
    (
        [
            "what is ollama",
            "tell me about ollama",
            "what does ollama do",
            "explain ollama",
            "do you know ollama",
        ],
        "Ollama is a program that downloads and runs local models. Its server listens on port 11434.",
    ),
    (
        [
            "which port does ollama use",
            "what is the port of ollama",
            "what port is ollama on",
            "on which port does ollama listen",
        ],
        "Ollama listens on port 11434.",
    ),
    (
        [
            "what is lm studio",
            "tell me about lm studio",
            "what does lm studio do",
            "explain lm studio",
            "do you know lm studio",
        ],
        "LM Studio is a desktop app for local models. Its server listens on port 1234.",
    ),
    (
        [
            "which port does lm studio use",
            "what is the port of lm studio",
            "what port is lm studio on",
            "on which port does lm studio listen",
        ],
        "LM Studio listens on port 1234.",
    ),
    (
        [
            "what is llama.cpp",
            "tell me about llama.cpp",
            "what does llama.cpp do",
            "explain llama.cpp",
            "do you know llama.cpp",
        ],
        "llama.cpp is a fast engine in C++ that runs GGUF models. Its server listens on port 8080.",
    ),
    (
        [
            "which port does llama.cpp use",
            "what is the port of llama.cpp",
            "what port is llama.cpp on",
            "on which port does llama.cpp listen",
        ],
        "llama.cpp listens on port 8080.",
    ),
    (
        [
            "what is patinox",
            "tell me about patinox",
            "what does patinox do",
            "explain patinox",
            "do you know patinox",
            "who is patinox",
        ],
        "Patinox finds local model servers on your computer and lets you chat with them in the same way.",
    ),
    (
        [
            "how does patinox find models",
            "how does patinox find servers",
            "how does patinox discover servers",
            "where does patinox look for models",
        ],
        "Patinox asks the usual ports for Ollama, LM Studio and llama.cpp and lists the models that answer.",
    ),
    (
        [
            "which servers does patinox support",
            "what servers can patinox use",
            "what does patinox support",
        ],
        "Patinox supports Ollama, LM Studio and llama.cpp servers, and it has a small engine inside.",
    ),
    (
        [
            "what is the difference between ollama and lm studio",
            "compare ollama and lm studio",
            "ollama or lm studio",
        ],
        "Ollama is a program for the command line, and LM Studio is a desktop app. Both run local models.",
    ),
    (
        [
            "what is gguf",
            "what is a gguf file",
            "explain gguf",
            "what does gguf mean",
            "tell me about gguf",
        ],
        "GGUF is a file format that holds the weights and the tokenizer of a model in one file.",
    ),
    (
        ["what is a token", "explain tokens", "what are tokens", "what does token mean"],
        "A token is a small piece of text. A model reads and writes text token by token.",
    ),
    (
        ["what is a tokenizer", "explain tokenizers", "what does a tokenizer do"],
        "A tokenizer cuts text into tokens and gives each token a number.",
    ),
    (
        [
            "what is an embedding",
            "explain embeddings",
            "what are embeddings",
            "what is an embedding good for",
        ],
        "An embedding is a list of numbers for a text. Texts with similar meaning have similar numbers.",
    ),
    (
        [
            "what is a context window",
            "what is the context",
            "explain the context window",
            "what is context length",
        ],
        "The context window is the number of tokens a model can see at once.",
    ),
    (
        [
            "what is quantization",
            "explain quantization",
            "what does quantization do",
            "what is a quantized model",
        ],
        "Quantization stores the weights with fewer bits, so the model is smaller and faster.",
    ),
    (
        [
            "what is streaming",
            "explain streaming",
            "what does streaming mean",
            "what is a streaming answer",
        ],
        "Streaming means that you get the answer piece by piece while the model is still writing.",
    ),
    (
        [
            "what is temperature",
            "explain temperature",
            "what does temperature do",
            "what is the temperature of a model",
        ],
        "Temperature controls how random the answer is. Zero means always the most likely token.",
    ),
    (
        ["what is a server", "explain servers", "what does a server do", "what is a model server"],
        "A server is a program that waits for requests and sends back answers.",
    ),
    (
        [
            "what is a language model",
            "what is an llm",
            "explain language models",
            "what does llm mean",
            "what is a large language model",
        ],
        "A language model is a program that predicts the next token of a text.",
    ),
    (
        ["what is a prompt", "explain prompts", "what does prompt mean"],
        "A prompt is the text that you give to a model.",
    ),
    (
        ["what is a system prompt", "explain the system prompt", "what does the system prompt do"],
        "The system prompt is a first message that tells the model how to behave.",
    ),
    (
        ["what is inference", "explain inference", "what does inference mean"],
        "Inference means running a trained model to get an answer.",
    ),
    (
        [
            "what are weights",
            "explain weights",
            "what are the weights of a model",
            "what are parameters",
        ],
        "Weights are the numbers inside a model. They are learned from text.",
    ),
    (
        [
            "how big are you",
            "how many parameters do you have",
            "how large are you",
            "what is your size",
            "are you a big model",
        ],
        "I am tiny. I have less than one million parameters.",
    ),
    (
        [
            "where do you run",
            "where are you running",
            "do you run in the cloud",
            "are you a local model",
            "are you local",
        ],
        "I run on your own computer, inside the engine of patinox.",
    ),
    (
        [
            "do you need the internet",
            "do you work offline",
            "do you need a network",
            "can you work offline",
            "do you use the internet",
        ],
        "No, I do not need the internet. I run on this computer.",
    ),
    (
        [
            "are you private",
            "do you send my data away",
            "is my text private",
            "who can read my messages",
        ],
        "Your text stays on this computer.",
    ),
    (
        [
            "how do I get a better model",
            "how can I use a bigger model",
            "how do I install a better model",
            "can I use a bigger model",
        ],
        "Install Ollama, LM Studio or llama.cpp, get a bigger model there, and patinox will find it.",
    ),
    (
        [
            "do I need a gpu",
            "do you need a gpu",
            "do local models need a gpu",
            "does a local model need a gpu",
        ],
        "No. A GPU makes a model faster, but a small model also runs on a CPU.",
    ),
]
SMALLTALK = [
    (
        [
            "hi",
            "hello",
            "hey",
            "hi there",
            "hello there",
            "hey there",
            "greetings",
            "hello model",
            "hi model",
        ],
        ["Hello! How can I help you?"],
    ),
    (["good morning", "morning"], ["Good morning! How can I help you?"]),
    (["good afternoon"], ["Good afternoon! How can I help you?"]),
    (["good evening"], ["Good evening! How can I help you?"]),
    (["good night", "sleep well"], ["Good night! Sleep well."]),
    (
        ["bye", "goodbye", "see you", "see you later", "bye bye", "see you tomorrow"],
        ["Goodbye! Have a nice day."],
    ),
    (
        ["thanks", "thank you", "thank you very much", "thanks a lot", "many thanks", "thx"],
        ["You are welcome."],
    ),
    (
        ["how are you", "how do you do", "how are you today", "how is it going", "are you well"],
        ["I am fine, thank you. How are you?"],
    ),
    (["i am fine", "i am well", "i am good", "fine", "i am fine too"], ["I am glad to hear that."]),
    (
        ["i am sad", "i feel sad", "i am tired", "i feel bad"],
        ["I am sorry to hear that. I hope you feel better soon."],
    ),
    (["i am happy", "i feel great", "i feel good"], ["That is great! I am happy for you."]),
    (
        [
            "who are you",
            "what are you",
            "what is your name",
            "tell me about yourself",
            "introduce yourself",
            "what should i call you",
        ],
        ["I am a very small language model that runs on your computer."],
    ),
    (
        [
            "what can you do",
            "help",
            "help me",
            "how can you help me",
            "what do you know",
            "what can i ask you",
            "what can i ask",
        ],
        ["You can ask me about colours, animals, small sums, days, and local models."],
    ),
    (
        [
            "are you a human",
            "are you a robot",
            "are you real",
            "are you a person",
            "are you alive",
            "are you chatgpt",
            "are you an ai",
            "are you claude",
        ],
        ["I am not a human. I am a small language model."],
    ),
    (["nice to meet you", "pleased to meet you"], ["Nice to meet you too."]),
    (
        ["tell me a joke", "do you know a joke", "make me laugh", "say something funny"],
        ["Why did the token cross the road? To get to the other side of the context window."],
    ),
    (
        ["ok", "okay", "i see", "good", "great", "nice", "cool", "well done", "good job"],
        ["I am glad that helped."],
    ),
    (
        ["test", "ping", "are you there", "is this working", "can you hear me", "testing"],
        ["Yes, I am here and I am working."],
    ),
    (
        ["tell me something", "say something", "tell me a fact", "surprise me"],
        ["A spider has eight legs, and a bee has six."],
    ),
    (
        ["write a poem", "tell me a poem", "write a short poem"],
        ["The sun is yellow, the sky is blue, a small model wrote this for you."],
    ),
    (
        ["tell me a story", "write a story", "write a short story"],
        [
            "A small cat sat under a tree. A bird sang a song. The cat listened, and then it slept all day long."
        ],
    ),
]
FALLBACK = "Sorry, I am a very small model and I do not know that. Ask me about colours, animals, small sums, days, or local models."
UNKNOWN = [
    "who wrote {w}",
    "what is the capital of {n}",
    "who is the president of {n}",
    "how do i cook {w}",
    "what is the weather in {n}",
    "translate {w} into german",
    "write python code for a {w}",
    "how old is {n}",
    "what is the price of a {w}",
    "when was the {w} invented",
    "why is the {w} so {a}",
    "how far is {n}",
    "who won the {w} game",
    "explain {w} physics",
    "what happened in {y}",
    "what time is it",
    "where is {n}",
    "how do i repair a {w}",
    "what is the meaning of life",
    "how tall is {n}",
    "which {w} is best",
    "is {n} a good {w}",
    "how many {w}s are there in {n}",
    "what did {n} say about the {w}",
    "summarize the {w} book",
    "can you draw a {w}",
    "fix my {w} program",
    "what is the square root of {y}",
    "what is {y} times {y2}",
    "what is {y} divided by {y2}",
    "sort this list of {w}s",
    "when is the next {w} show",
]
SYSTEMS = [
    "You are a helpful assistant.",
    "You are a small assistant.",
    "Answer briefly.",
    "Be kind and short.",
    "You are patinox.",
    "You are a coding assistant.",
    "You are a helpful and honest AI. Answer in one sentence.",
    "Reply in English.",
]


def with_article(w):
    """The word with `a` or `an` before it."""
    return ("an " if w[0] in "aeiou" else "a ") + w


def plural(a):
    """The plural of an animal."""
    return {
        "mouse": "mice",
        "wolf": "wolves",
        "butterfly": "butterflies",
        "sheep": "sheep",
        "fish": "fish",
    }.get(a, a + "s")


def legs(n):
    """A number of legs in words."""
    return {0: "no legs", 2: "two legs", 4: "four legs", 6: "six legs", 8: "eight legs"}[n]


def colour(rng):
    """Colours of things, and mixtures of two colours."""
    k = rng.random()
    if k < 0.5:
        o, c = rng.choice(list(COLOURS.items()))
        q = rng.choice(
            [
                "what colour is {o}",
                "what color is {o}",
                "which colour is {o}",
                "tell me the colour of {o}",
                "which color does {o} have",
                "what is the colour of {o}",
                "{o}, which colour is it",
            ]
        ).format(o=o)
        return q, f"{o[0].upper() + o[1:]} is {c}."
    if k < 0.7:
        o, c = rng.choice(list(COLOURS.items()))
        if rng.random() < 0.5:
            return f"is {o} {c}", f"Yes, {o} is {c}."
        d = rng.choice([x for x in COLOUR_NAMES if x != c])
        return f"is {o} {d}", f"No, {o} is {c}."
    if k < 0.9:
        (a, b), c = rng.choice(list(MIXTURES.items()))
        if rng.random() < 0.5:
            a, b = b, a
        q = rng.choice(
            [
                "what do you get if you mix {a} and {b}",
                "mix {a} and {b}",
                "what colour do {a} and {b} make",
                "which colour is {a} plus {b}",
                "what is {a} mixed with {b}",
            ]
        ).format(a=a, b=b)
        return q, f"If you mix {a} and {b} you get {c}."
    c = rng.choice(COLOUR_NAMES)
    o = [x for x, y in COLOURS.items() if y == c][:2]
    if rng.random() < 0.3:
        return rng.choice(
            ["name a colour", "tell me a colour", "what is your favourite colour"]
        ), "I like blue, the colour of the sky."
    if rng.random() < 0.3:
        return rng.choice(
            ["name three colours", "list some colours", "which colours do you know"]
        ), "Red, green and blue are colours."
    return rng.choice(
        [f"what is {c}", f"name something {c}", f"what things are {c}"]
    ), f"{o[0][0].upper() + o[0][1:]} is {c}."


def animal(rng):
    """Sounds, legs, young, food and homes of animals."""
    a, (s, n, baby, food, home, fly) = rng.choice(list(ANIMALS.items()))
    k = rng.randrange(7)
    if k == 0 and s:
        return rng.choice(
            [
                f"what sound does {with_article(a)} make",
                f"what does {with_article(a)} say",
                f"what does the {a} say",
                f"how does {with_article(a)} sound",
            ]
        ), f"{with_article(a)[0].upper() + with_article(a)[1:]} says {s}."
    if k == 1:
        return rng.choice(
            [
                f"how many legs does {with_article(a)} have",
                f"how many legs has {with_article(a)}",
                f"how many legs do {plural(a)} have",
            ]
        ), f"{with_article(a)[0].upper() + with_article(a)[1:]} has {legs(n)}."
    if k == 2:
        return rng.choice(
            [
                f"what is a baby {a} called",
                f"what do you call a baby {a}",
                f"what is the name of a baby {a}",
            ]
        ), f"A baby {a} is called {with_article(baby)}."
    if k == 3:
        return rng.choice(
            [
                f"what does {with_article(a)} eat",
                f"what do {plural(a)} eat",
                f"what is the food of {with_article(a)}",
            ]
        ), f"{with_article(a)[0].upper() + with_article(a)[1:]} eats {food}."
    if k == 4:
        return rng.choice(
            [
                f"where does {with_article(a)} live",
                f"where do {plural(a)} live",
                f"what is the home of {with_article(a)}",
            ]
        ), f"{with_article(a)[0].upper() + with_article(a)[1:]} lives in {home}."
    if k == 5:
        return rng.choice(
            [f"can {with_article(a)} fly", f"can {plural(a)} fly", f"does {with_article(a)} fly"]
        ), (f"Yes, {with_article(a)} can fly." if fly else f"No, {with_article(a)} cannot fly.")
    if rng.random() < 0.4:
        return rng.choice(
            [
                "name an animal",
                "tell me an animal",
                "which animal do you like",
                "what is your favourite animal",
            ]
        ), "I like the owl. It says hoot."
    b = [x for x, v in ANIMALS.items() if v[0] == s][0] if s else None
    if s:
        return rng.choice(
            [f"which animal says {s}", f"who says {s}", f"what animal says {s}"]
        ), f"{with_article(b)[0].upper() + with_article(b)[1:]} says {s}."
    return (
        f"what is {with_article(a)}",
        f"{with_article(a)[0].upper() + with_article(a)[1:]} is an animal with {legs(n)}.",
    )


def arithmetic(rng):
    """Sums and differences up to 20, neighbours, counting, odd and even."""
    k = rng.random()
    if k < 0.4:
        a = rng.randint(0, 20)
        b = rng.randint(0, 20 - a)
        f = rng.choice(
            [
                "what is {a} + {b}",
                "{a} + {b}",
                "{a} plus {b}",
                "what is {a} plus {b}",
                "how much is {a} + {b}",
                "add {a} and {b}",
                "what is the sum of {a} and {b}",
                "{a}+{b}",
                "calculate {a} + {b}",
                "what is {a}+{b}",
                "how much is {a} plus {b}",
                "{a} + {b} =",
            ]
        )
        return f.format(a=a, b=b), f"{a} + {b} = {a + b}."
    if k < 0.75:
        a = rng.randint(0, 20)
        b = rng.randint(0, a)
        f = rng.choice(
            [
                "what is {a} - {b}",
                "{a} - {b}",
                "{a} minus {b}",
                "what is {a} minus {b}",
                "how much is {a} - {b}",
                "subtract {b} from {a}",
                "{a}-{b}",
                "calculate {a} - {b}",
                "what is {a}-{b}",
                "how much is {a} minus {b}",
                "take {b} away from {a}",
                "{a} - {b} =",
            ]
        )
        return f.format(a=a, b=b), f"{a} - {b} = {a - b}."
    if k < 0.82:
        n = rng.randint(0, 19)
        return rng.choice(
            [
                f"what number comes after {n}",
                f"which number comes after {n}",
                f"what comes after {n}",
            ]
        ), f"After {n} comes {n + 1}."
    if k < 0.88:
        n = rng.randint(1, 20)
        return rng.choice(
            [
                f"what number comes before {n}",
                f"which number comes before {n}",
                f"what comes before {n}",
            ]
        ), f"Before {n} comes {n - 1}."
    if k < 0.94:
        a, b = rng.sample(range(21), 2)
        return rng.choice(
            [
                f"which is bigger, {a} or {b}",
                f"which number is larger, {a} or {b}",
                f"is {a} or {b} bigger",
            ]
        ), f"{max(a, b)} is bigger than {min(a, b)}."
    if k < 0.97:
        n = rng.randint(2, 10)
        return rng.choice(
            [f"count to {n}", f"count from 1 to {n}", f"please count to {n}"]
        ), ", ".join(str(i) for i in range(1, n + 1)) + "."
    n = rng.randint(0, 20)
    return rng.choice(
        [f"is {n} even", f"is {n} odd", f"is {n} even or odd"]
    ), f"{n} is {'odd' if n % 2 else 'even'}."


def days(rng):
    """Days of the week and months."""
    k = rng.random()
    i = rng.randrange(7)
    j = rng.randrange(12)
    if k < 0.25:
        return rng.choice(
            [
                "what day comes after {d}",
                "which day is after {d}",
                "what is the day after {d}",
                "what comes after {d}",
                "today is {d}, what is tomorrow",
            ]
        ).format(d=DAYS[i]), f"After {DAYS[i]} comes {DAYS[(i + 1) % 7]}."
    if k < 0.45:
        return rng.choice(
            [
                "what day comes before {d}",
                "which day is before {d}",
                "what is the day before {d}",
                "what comes before {d}",
                "today is {d}, what was yesterday",
            ]
        ).format(d=DAYS[i]), f"Before {DAYS[i]} comes {DAYS[i - 1]}."
    if k < 0.6:
        return rng.choice(
            ["what month comes after {d}", "which month is after {d}", "what comes after {d}"]
        ).format(d=MONTHS[j]), f"After {MONTHS[j]} comes {MONTHS[(j + 1) % 12]}."
    if k < 0.7:
        return rng.choice(
            ["what month comes before {d}", "which month is before {d}", "what comes before {d}"]
        ).format(d=MONTHS[j]), f"Before {MONTHS[j]} comes {MONTHS[j - 1]}."
    if k < 0.8:
        return rng.choice(
            [
                "how many days does {m} have",
                "how many days are in {m}",
                "how many days are there in {m}",
            ]
        ).format(m=MONTHS[j]), f"{MONTHS[j]} has {MONTH_LENGTHS[j]} days."
    if k < 0.88:
        return rng.choice(
            [
                f"is {DAYS[i]} a weekend day",
                f"is {DAYS[i]} in the weekend",
                f"is {DAYS[i]} a working day",
            ]
        ), (f"{DAYS[i]} is in the weekend." if i > 4 else f"{DAYS[i]} is a working day.")
    return rng.choice(
        [
            (
                rng.choice(["how many days are in a week", "how many days does a week have"]),
                "A week has seven days.",
            ),
            (
                rng.choice(
                    [
                        "name the days of the week",
                        "list the days of the week",
                        "what are the days of the week",
                    ]
                ),
                "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",
            ),
            (
                rng.choice(["how many months are in a year", "how many months does a year have"]),
                "A year has twelve months.",
            ),
            (
                rng.choice(
                    ["which days are the weekend", "what is the weekend", "when is the weekend"]
                ),
                "Saturday and Sunday are the weekend.",
            ),
            (
                rng.choice(
                    ["what is the first day of the week", "which day is the first day of the week"]
                ),
                "Monday is the first day of the week.",
            ),
            (
                rng.choice(["how many hours are in a day", "how many hours does a day have"]),
                "A day has 24 hours.",
            ),
        ]
    )


def opposite(rng):
    """Opposites."""
    a, b = rng.choice(list(OPPOSITES.items()))
    if rng.random() < 0.5:
        a, b = b, a
    return rng.choice(
        [f"what is the opposite of {a}", f"opposite of {a}", f"tell me the opposite of {a}"]
    ), f"The opposite of {a} is {b}."


def repetition(rng):
    """Words to spell or to say again."""
    if rng.random() < 0.35:
        w = rng.choice(WORDS)
        return rng.choice([f"spell {w}", f"how do you spell {w}", f"spell the word {w}"]), "-".join(
            w
        ) + "."
    t = " ".join(rng.sample(WORDS, rng.randint(1, 3)))
    return rng.choice(
        [f"say {t}", f"repeat {t}", f"say: {t}", f"repeat after me: {t}", f"please say {t}"]
    ), t[0].upper() + t[1:] + "."


def fact(rng):
    """What people ask about local models."""
    q, a = rng.choice(FACTS)
    return rng.choice(q), a


def smalltalk(rng):
    """Greetings and the like."""
    q, a = rng.choice(SMALLTALK)
    return rng.choice(q), rng.choice(a)


def unknown(rng):
    """What the model does not know, and says so."""
    if rng.random() < 0.12:
        return " ".join(rng.sample(WORDS, rng.randint(2, 5))), FALLBACK
    q = rng.choice(UNKNOWN).format(
        w=rng.choice(WORDS),
        n=rng.choice(
            NAMES + ["Paris", "London", "France", "Spain", "Berlin", "Rome", "Japan", "Mars"]
        ),
        a=rng.choice(list(OPPOSITES)),
        y=rng.randint(21, 2100),
        y2=rng.randint(21, 99),
    )
    return q, FALLBACK


def as_typed(rng, q):
    """The question with the careless case, spelling and punctuation of a person."""
    if rng.random() < 0.12:
        q = (
            rng.choice(
                [
                    "please tell me, ",
                    "can you tell me, ",
                    "hey, ",
                    "tell me: ",
                    "I want to know: ",
                    "question: ",
                ]
            )
            + q
        )
    k = rng.random()
    q = q.replace(" i ", " I ") if rng.random() < 0.5 else q
    q = (
        q.replace("ollama", rng.choice(["Ollama", "ollama"]))
        .replace("lm studio", rng.choice(["LM Studio", "lm studio", "LMStudio"]))
        .replace("patinox", rng.choice(["patinox", "Patinox"]))
        .replace("gguf", rng.choice(["gguf", "GGUF"]))
        .replace("gpu", rng.choice(["gpu", "GPU"]))
        .replace("llm", rng.choice(["LLM", "llm"]))
    )
    if k < 0.6:
        q = q[0].upper() + q[1:]
    elif k < 0.65:
        q = q.lower()
    k = rng.random()
    end = (
        "?"
        if q.lower().startswith(
            (
                "what",
                "which",
                "how",
                "is ",
                "can ",
                "who",
                "why",
                "where",
                "do ",
                "does ",
                "are ",
                "when",
                "please tell",
                "can you",
            )
        )
        else rng.choice([".", "!", ""])
    )
    return q + (end if k < 0.75 else "")


TOPICS = [
    (colour, 12),
    (animal, 14),
    (arithmetic, 32),
    (days, 10),
    (opposite, 5),
    (repetition, 9),
    (fact, 16),
    (smalltalk, 12),
    (unknown, 7),
]
_topics, _weights = zip(*TOPICS, strict=True)


def question_and_answer(rng):
    """A question of any topic, and its answer."""
    q, a = rng.choices(_topics, _weights)[0](rng)
    return as_typed(rng, q), a


def introduction(rng):
    """A conversation in which the model is told a name and asked for it later."""
    n = rng.choice(NAMES)
    out = [
        (
            rng.choice(
                [
                    f"My name is {n}.",
                    f"I am {n}",
                    f"Hi, I am {n}.",
                    f"my name is {n}",
                    f"Hello, my name is {n}!",
                    f"Call me {n}.",
                ]
            ),
            f"Nice to meet you, {n}.",
        )
    ]
    for _ in range(rng.choice([0, 0, 1, 2])):
        out.append(question_and_answer(rng))
    out.append(
        (
            as_typed(
                rng,
                rng.choice(
                    [
                        "what is my name",
                        "who am I",
                        "do you know my name",
                        "do you remember my name",
                    ]
                ),
            ),
            f"Your name is {n}.",
        )
    )
    return out


def make_conversation(rng: random.Random) -> list[tuple[str, str]]:
    """One conversation: pairs of a role and what it says."""
    k = rng.random()
    if k < 0.10:
        return tool_conversation(rng, question_and_answer, SYSTEMS)
    if k < 0.15:
        return json_conversation(rng, colour, arithmetic, opposite)
    turns = []
    if rng.random() < 0.2:
        turns.append(("system", rng.choice(SYSTEMS)))
    k = rng.random()
    if k < 0.08:
        pairs = introduction(rng)
    elif k < 0.10:
        pairs = [
            (
                as_typed(rng, rng.choice(["what is my name", "who am I", "do you know my name"])),
                "I do not know your name yet.",
            )
        ]
    elif k < 0.6:
        pairs = [question_and_answer(rng)]
    else:
        pairs = [question_and_answer(rng) for _ in range(rng.randint(2, 5))]
    for q, a in pairs:
        turns += [("user", q), ("assistant", a)]
    return turns


if __name__ == "__main__":
    for seed in range(25):
        print(make_conversation(random.Random(seed)))
