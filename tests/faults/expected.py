"""What each fault must come to, written down from the catalogue, never from the code.

A row has five words, for: probe, list, chat, streamed chat, embed. `ok` is the right answer, `no`
nothing that is believed, `-` not to be seen there; a letter is the error that must be raised.
"""

from patinox.testing.faults import CALLS, FAULTS, Fault

ERRORS = {
    "U": "ServiceUnavailable",
    "T": "ServiceTimeout",
    "P": "ParseError",
    "L": "ResponseTooLarge",
    "E": "ServiceError",
    "R": "RateLimited",
    "A": "AuthenticationError",
    "N": "ModelNotFound",
    "W": "ModelNotLoaded",
    "M": "ModelMismatch",
    "I": "InvalidRequest",
    "X": "ContextLengthExceeded",
    "S": "StreamInterrupted",
}

TABLE = """
    # A connection
    refused                    no  U   U   U   U
    syn_blackhole              no  T   T   T   T
    accept_silence             no  T   T   T   T
    never_answer               no  T   T   T   T
    reset_on_accept            no  U   U   U   U
    close_on_accept            no  U   U   U   U
    reset_after_request        no  U   U   U   U
    close_after_request        no  U   U   U   U
    slow_accept                ok  ok  ok  ok  ok
    tls_on_plain               no  P   P   P   P
    ssh_banner                 no  P   P   P   P
    binary_garbage             no  P   P   P   P
    stale_keepalive            ok  ok  ok  ok  ok
    # B HTTP
    status_500                 no  E   E   E   E
    html_502                   no  E   E   E   E
    status_503_retry_after     no  R   R   R   R
    model_loading              no  W   W   W   W
    retry_after_huge           no  R   R   R   R
    retry_after_garbage        no  R   R   R   R
    retry_after_date           no  R   R   R   R
    status_429                 no  R   R   R   R
    status_401                 no  A   A   A   A
    status_403                 no  A   A   A   A
    model_gone                 -   -   N   N   N
    openai_only                no  P   P   P   P
    context_overflow           -   -   X   X   X
    early_413                  -   -   I   I   I
    redirect_other_host        no  P   P   P   P
    redirect_loop              no  P   P   P   P
    huge_header                no  P   P   P   P
    many_headers               no  P   P   P   P
    slow_headers               no  T   T   T   T
    informational_flood        no  P   P   P   P
    informational_few          ok  ok  ok  ok  ok
    bad_status_line            no  P   P   P   P
    bad_header_line            no  P   P   P   P
    # Wrong HTTP of a service that was known to speak it breaks its contract; what breaks off after
    # its head is an answer that was interrupted, whether it was to come in one piece or in many.
    chunked_bad_size           no  P   P   P   P
    chunked_endless_extension  no  P   S   S   P
    chunked_truncated          no  P   S   -   P
    length_too_long            no  P   S   -   P
    length_too_short           -   P   P   -   P
    conflicting_length         no  P   P   P   P
    length_and_chunks          no  P   P   P   P
    unsolicited_response       ok  ok  ok  -   ok
    http10_eof                 ok  ok  ok  ok  ok
    gzip_bomb                  no  P   P   P   P
    gzip_unasked               no  P   P   P   P
    gzip_lie                   no  P   P   P   P
    wrong_content_type         ok  ok  ok  ok  ok
    html_200                   no  P   P   P   P
    error_body_200             no  E   E   E   E
    empty_200                  no  P   P   P   P
    status_204                 no  P   P   P   P
    buffered                   -   -   -   ok  -
    # C body
    truncated_json             no  P   P   P   P
    invalid_utf8               no  P   P   P   P
    json_bom                   no  P   P   P   P
    nan_numbers                ok  ok  ok  ok  P
    huge_int                   ok  ok  ok  ok  P
    deep_nesting               no  P   P   P   P
    wrong_types                no  P   P   P   P
    odd_optional_fields        ok  ok  ok  ok  ok
    missing_fields             no  few S   S   P
    null_fields                ok  ok  ok  ok  ok
    extra_fields               ok  ok  ok  ok  ok
    duplicate_keys             ok  ok  ok  ok  ok
    top_level_array            no  P   P   P   P
    huge_body                  no  L   L   L   L
    many_models                -   one -   -   -
    evil_names                 -   all -   -   -
    weird_timings              ok  ok  ok  ok  ok
    other_model                -   -   M   M   -
    # D stream
    split_every_byte           -   -   -   ok  -
    split_characters           -   -   -   its -
    coalesced                  -   -   -   ok  -
    crlf_lines                 -   -   -   ok  -
    unicode_separators         -   -   -   its -
    keepalive_comments         -   -   -   ok  -
    odd_deltas                 -   -   -   ok  -
    error_mid_stream           -   -   -   S   -
    error_first                -   -   -   E   -
    silent_stall               -   -   -   S   -
    no_first_token             -   -   -   T   -
    eof_without_done           -   -   -   S   -
    eof_mid_line               -   -   -   S   -
    reset_mid_stream           -   -   -   S   -
    empty_stream               -   -   -   P   -
    trickle                    -   -   -   ok  -
    data_after_done            -   -   -   ok  -
    duplicate_done             -   -   -   ok  -
    malformed_line             -   -   -   S   -
    long_line                  -   -   -   ok  -
    endless_line               -   -   -   S   -
    endless_stream             -   -   -   S   -
    stream_mismatch            -   -   ok  ok  -
    # E identity
    swap_kind                  is  P   P   P   P
    web_server                 no  P   P   P   P
    yes_server                 no  P   P   P   P
    echo_server                no  E   E   E   E
    # F life
    die_after_list             -   -   U   U   U
    models_change              -   new -   -   -
    cold_start                 -   -   ok  ok  ok
"""

# Where the services differ by what they are.
BY_KIND = {
    # llama.cpp names itself while it loads, is busy or wants a key, and is found so.
    ("model_loading", "llamacpp"): "ok W W W W",
    ("status_401", "llamacpp"): "ok A A A A",
    ("status_503_retry_after", "llamacpp"): "ok R R R R",
    ("retry_after_huge", "llamacpp"): "ok R R R R",
    ("retry_after_garbage", "llamacpp"): "ok R R R R",
    ("retry_after_date", "llamacpp"): "ok R R R R",
    # Both speak OpenAI's language; the others' own lists are asked for first, and then this.
    ("openai_only", "lmstudio"): "no ok ok ok ok",
    ("openai_only", "llamacpp"): "no ok ok ok ok",
    # It tells each of its models twice, and so long a reply is beyond its budget.
    ("many_models", "llamacpp"): "- L - - -",
    # A line that ends too early cannot be told from one that was cut.
    ("truncated_json", "ollama"): "no P S P P",
    # Its proof has no text; and a name that vectors need not bear is not said if it cannot be read.
    ("invalid_utf8", "lmstudio"): "ok P P P ok",
    ("invalid_utf8", "ollama"): "no P P P ok",
    # Server-sent events may begin with a byte order mark.
    ("json_bom", "lmstudio"): "no P P ok P",
    ("json_bom", "llamacpp"): "no P P ok P",
    # An Ollama without models, since the list itself may be null.
    ("null_fields", "ollama"): "ok none ok ok ok",
    # Its vectors are base64, its list has one model, and what it is stands in `/props` alone.
    ("nan_numbers", "llamacpp"): "ok ok ok ok ok",
    ("huge_int", "llamacpp"): "ok ok ok ok ok",
    ("missing_fields", "llamacpp"): "no P S S P",
    # The name of a model is all that an Ollama that took the port knows.
    ("swap_kind", "lmstudio"): "is P N N N",
    ("swap_kind", "llamacpp"): "is P N N N",
}

# Which limit ends the wait; the others wait for nothing.
TIMED = {
    *("syn_blackhole", "accept_silence", "never_answer", "slow_headers", "no_first_token"),
    *("silent_stall", "trickle", "endless_stream"),
}
# What only the caller's own limit ends.
TOTAL = {"endless_stream", "retry_after_huge"}
# The server is hung up on, which it must see at once.
ABANDONED = {
    *("never_answer", "slow_headers", "silent_stall", "no_first_token", "huge_body"),
    *("endless_line", "endless_stream", "chunked_endless_extension"),
}


def expectations() -> dict[str, dict[str, dict[str, str]]]:
    """The table: fault, kind of service, call; what is not to be seen is left out."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for line in TABLE.strip().splitlines():
        if line.strip().startswith("#"):
            continue
        name, *usual = line.split()
        table[name] = {}
        for kind in ("ollama", "lmstudio", "llamacpp"):
            words = BY_KIND.get((name, kind), " ".join(usual)).split()
            table[name][kind] = {
                call: ERRORS.get(word, word)
                for call, word in zip(CALLS, words, strict=True)
                if word != "-"
            }
    return table


def through(face: str, fault: Fault, kind: str, call: str) -> str:
    """What must come of a fault through a face; a command finds the services itself each time."""
    outcome = expectations()[fault.name][kind][call]
    every_call = fault.on_request is None or fault.section == "E"
    if face != "command line" or not every_call or outcome in {"ok", "no", "is"}:
        return outcome
    if fault.name == "swap_kind":  # found as what it is, with models of its own
        return "is" if call == "list" else "ModelNotFound"
    return "ServiceNotFound"


# How long a fault takes of itself, in seconds, where it is not waited for to a limit.
SLOW = {
    "status_503_retry_after": 1.2,
    "model_loading": 1.0,
    "status_429": 1.0,
    "retry_after_garbage": 1.0,
    "cold_start": 0.3,
    "slow_accept": 0.3,
    "buffered": 0.1,
    "reset_mid_stream": 0.1,
    # So many pieces, or so many bytes until the budget is used up.
    **dict.fromkeys(("split_every_byte", "huge_body", "endless_line", "long_line"), 2.0),
    **dict.fromkeys(("gzip_bomb", "many_models", "many_headers", "huge_header"), 1.0),
}
# What takes much of a machine is seen in the newer generation of each service only.
HEAVY = {"huge_body", "endless_line", "gzip_bomb", "many_models", "split_every_byte"}
# Who is busy is asked once more, when it wished so; for vectors so is who does not answer at all.
BUSY = {"status_503_retry_after", "model_loading", "status_429"}
BUSY |= {"retry_after_huge", "retry_after_garbage", "retry_after_date"}


def requests(fault: str, call: str) -> int:
    """How often a server may be asked for one answer."""
    unavailable = expectations()[fault]["ollama"].get(call) == ERRORS["U"]
    return 2 if fault in BUSY or (call == "embed" and unavailable) else 1


# Faults that show in more than one call, with the test that shows them.
ELSEWHERE = {
    "flapping": "faults/test_life.py::test_a_flapping_server_is_used_and_not_given_up",
}


def services(face: str, fault: Fault) -> list[str]:
    """In which services a fault is seen through a face: kind and generation."""
    newer, older = ["ollama 0.33", "lmstudio 0.4"], ["ollama 0.24", "lmstudio 0.3"]
    heavy = fault.name in HEAVY
    if face == "command line":  # one call at a time: what takes long is seen in one service
        return newer[:1] if heavy or fault.name in TIMED else newer
    # What differs in the older ones is how lists and errors look.
    differs = face == "async" and fault.section in "CE" and not heavy
    return newer + (older if differs else [])


def count() -> int:
    """How many cells the table has."""
    table, cells = expectations(), 0
    for name, rows in table.items():
        for face in ("async", "blocking", "command line"):
            kinds = [service.partition(" ")[0] for service in services(face, FAULTS[name])]
            cells += sum(len(rows[kind]) for kind in kinds)
        cells += len(rows["llamacpp"])
    return cells
