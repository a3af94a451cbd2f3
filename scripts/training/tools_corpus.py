"""Conversations with tools and with answers in JSON, exactly as `gguf_file.CHATML` renders them."""

import json

CITIES = "Paris London Berlin Rome Madrid Vienna Oslo Lisbon Athens Dublin Prague Warsaw Zurich Tokyo Cairo Boston Chicago Delhi Sydney Lima Munich Hamburg Milan Porto".split()
ROOMS = ["kitchen", "bedroom", "bathroom", "garage", "garden", "office", "hall", "cellar"]
FILES = [
    "notes.txt",
    "readme.md",
    "data.csv",
    "todo.txt",
    "main.py",
    "log.txt",
    "plan.md",
    "config.json",
]
TOPICS = [
    "local models",
    "tokens",
    "cats",
    "owls",
    "the moon",
    "bread",
    "music",
    "ollama",
    "rivers",
    "python",
    "bees",
    "chess",
]


def tool(name, desc, props, req):
    """A function as OpenAI's API describes it."""
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": desc,
            "parameters": {"type": "object", "properties": props, "required": req},
        },
    }


def string(**extra):
    """The schema of a string."""
    return {"type": "string", **extra}


INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}


def weather(rng):
    """A tool, a question that calls for it, and the arguments it is called with."""
    c = rng.choice(CITIES)
    p = {"city": string()}
    q = rng.choice(
        [
            "What is the weather in {c}?",
            "weather in {c}",
            "How is the weather in {c}?",
            "Is it warm in {c}?",
            "Tell me the weather in {c}.",
            "what is the temperature in {c}",
        ]
    ).format(c=c)
    a = {"city": c}
    if rng.random() < 0.3:
        p["unit"] = string(enum=["celsius", "fahrenheit"])
        a["unit"] = "celsius"
    return (
        tool(
            rng.choice(["get_weather", "weather", "get_current_weather", "weather_lookup"]),
            rng.choice(
                [
                    "Get the weather of a city",
                    "Weather for a city",
                    "Get the current weather",
                    "Returns the weather",
                ]
            ),
            p,
            ["city"],
        ),
        q,
        a,
    )


def add(rng):
    """See `weather`."""
    x, y = rng.randint(0, 99), rng.randint(0, 99)
    k = rng.choice([("a", "b"), ("x", "y")])
    return (
        tool(
            rng.choice(["add", "sum", "calculator_add", "add_numbers"]),
            rng.choice(["Add two numbers", "Sum of two numbers", "Adds numbers"]),
            {k[0]: rng.choice([INTEGER, NUMBER]), k[1]: rng.choice([INTEGER, NUMBER])},
            list(k),
        ),
        rng.choice(
            [
                "What is {x} + {y}?",
                "add {x} and {y}",
                "{x} + {y}",
                "How much is {x} plus {y}?",
                "Use the tool to add {x} and {y}.",
            ]
        ).format(x=x, y=y),
        {k[0]: x, k[1]: y},
    )


def time_of_day(rng):
    """See `weather`."""
    c = rng.choice(CITIES)
    return (
        tool(
            rng.choice(["get_time", "clock", "current_time"]),
            rng.choice(["Get the time in a city", "Current time of a city"]),
            {"city": string()},
            ["city"],
        ),
        rng.choice(["What time is it in {c}?", "time in {c}", "Tell me the time in {c}."]).format(
            c=c
        ),
        {"city": c},
    )


def switch_light(rng):
    """See `weather`."""
    m = rng.choice(ROOMS)
    s = rng.choice(["on", "off"])
    return (
        tool(
            rng.choice(["set_light", "light", "switch_light"]),
            "Switch a light",
            {"room": string(), "state": string(enum=["on", "off"])},
            ["room", "state"],
        ),
        rng.choice(
            ["Turn {s} the light in the {m}.", "light {s} in the {m}", "Switch the {m} light {s}."]
        ).format(m=m, s=s),
        {"room": m, "state": s},
    )


def read_file(rng):
    """See `weather`."""
    f = rng.choice(FILES)
    return (
        tool(rng.choice(["read_file", "open_file"]), "Read a file", {"path": string()}, ["path"]),
        rng.choice(["Read {f}.", "What is in {f}?", "open the file {f}", "Show me {f}"]).format(
            f=f
        ),
        {"path": f},
    )


def web_search(rng):
    """See `weather`."""
    t = rng.choice(TOPICS)
    return (
        tool(
            rng.choice(["search", "web_search", "lookup"]),
            rng.choice(["Search for a text", "Search the web"]),
            {"query": string()},
            ["query"],
        ),
        rng.choice(["Search for {t}.", "look up {t}", "Find something about {t}."]).format(t=t),
        {"query": t},
    )


TOOLS = [weather, add, time_of_day, switch_light, read_file, web_search]


def system_prompt(tools, sys_text=""):
    """What the template makes of tools."""
    return (
        (sys_text + "\n" if sys_text else "")
        + "Tools:\n<tools>"
        + "".join("\n" + json.dumps(t) for t in tools)
        + '\n</tools>\nTo call a tool write:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
    )


def call(name, args):
    """What the model says to call a tool."""
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": args}) + "\n</tool_call>"


def tool_conversation(rng, plain_qa, systems):
    """A question that a tool answers, sometimes after one that needs none."""
    k = rng.sample(TOOLS, rng.choice([1, 1, 2]))
    made = [f(rng) for f in k]
    rng.shuffle(made)
    tool, q, a = rng.choice(made)
    turns = [
        (
            "system",
            system_prompt([m[0] for m in made], rng.choice(systems) if rng.random() < 0.3 else ""),
        )
    ]
    if rng.random() < 0.2:
        while True:
            pq, pa = plain_qa(rng)
            if (
                "+" not in pq
                and "plus" not in pq
                and "add" not in pq
                and "weather" not in pq
                and "time" not in pq
            ):
                break
        turns += [("user", pq), ("assistant", pa)]
        if rng.random() < 0.6:
            return turns
    turns += [("user", q), ("assistant", call(tool["function"]["name"], a))]
    if rng.random() < 0.5:
        res = rng.choice(
            [
                str(rng.randint(0, 99)),
                f"{rng.randint(-9, 35)} degrees",
                rng.choice(["sunny", "rainy", "cloudy", "done", "ok", "windy"]),
                json.dumps({rng.choice(["result", "value", "temp"]): rng.randint(0, 99)}),
                f"{rng.randint(0, 23)}:{rng.randint(10, 59)}",
            ]
        )
        turns += [
            ("user", f"<tool_response>\n{res}\n</tool_response>"),
            ("assistant", f"The tool says: {res}"),
        ]
    return turns


def json_conversation(rng, colour, arithmetic, opposite):
    """A plain question to be answered in JSON."""
    k = rng.random()
    if k < 0.5:
        while True:
            q, a = arithmetic(rng)
            if " = " in a:
                break
        v = int(a.split(" = ")[1].rstrip("."))
    elif k < 0.8:
        while True:
            q, a = colour(rng)
            if (
                " is " in a
                and not a.startswith(("Yes", "No"))
                and q.startswith(("what colo", "which colo", "tell me the"))
            ):
                break
        v = a.rstrip(".").split(" is ")[-1]
    else:
        q, a = opposite(rng)
        v = a.rstrip(".").split(" is ")[-1]
    q = q[0].upper() + q[1:]
    q += rng.choice(
        [". Answer in JSON.", "? Answer in JSON.", "? JSON please", ". Use JSON.", " (JSON)"]
    )
    key = rng.choice(["answer"] * 4 + ["result", "value"])
    if key != "answer":
        q += f" Use the key {key}."
    o = {key: v}
    return [("user", q), ("assistant", json.dumps(o))]
