"""Models of servers on this machine.

Reading order, bottom to top: `types`, `errors`, `endpoint`, `config`; `wire/` and `dialects/`;
`transport`; `link`, `finding` and `lifecycle`, the parts of a `service`, which has `answer` and
`catalog`; one file for each kind of service (`ollama`, `lmstudio`, `llamacpp`, `embedded`);
`registry`; `probing` and `discovery`; `health` and `routing`; `coordinator`, and `sync` on top.
"""
