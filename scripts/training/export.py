"""Write the weights of a run as GGUF: `python export.py [f32|f16|q8_0]`, `q8_0` unless told."""

import json
import sys

import torch
from bpe import BPE
from gguf_file import write_llama
from model import Config, Llama
from train import BUILD, MERGES, WEIGHTS

QUESTIONS = ["What is 3 + 4?", "What is Ollama?", "what colour is the sky", "Count to 5"]
MOST_TOKENS = 60


def answer(model: Llama, tokenizer: BPE, question: str) -> str:
    """The model's greedy answer, in torch: what the file must say in an engine, too."""
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.encode(prompt)
    start, (end,) = len(ids), tokenizer.encode("<|im_end|>")
    while len(ids) < start + MOST_TOKENS:
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == end:
            break
    return tokenizer.decode(ids[start:])


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "q8_0"
    merges = [(a, b) for a, b in json.loads(MERGES.read_text(encoding="utf-8"))]
    config = Config()
    model = Llama(config)
    model.load_state_dict(torch.load(WEIGHTS))
    model.eval()
    tensors = {name: value.float().numpy() for name, value in model.state_dict().items()}
    path = BUILD / f"patinox-tiny-{kind}.gguf"
    write_llama(path, config, tensors, merges, kind)
    print(f"{path.name}: {path.stat().st_size} bytes")
    with torch.no_grad():
        for question in QUESTIONS:
            print(f"{question} -> {answer(model, BPE(merges), question)}")


if __name__ == "__main__":
    main()
