"""Do the same without `async`: `python examples/blocking.py`."""

from patinox import CompletionRequest, SyncLocalProvider


def main() -> None:
    """Complete and stream; the names are those of `LocalProvider`."""
    with SyncLocalProvider() as local:
        model, _ = local.default_model()
        request = CompletionRequest(model.model_id, ["Name three rivers."])
        print(local.complete(request).text)
        with local.stream_completion(request) as stream:
            for event in stream:
                print(event.text, end="", flush=True)
        print(f"\nin one piece and in many, by {stream.response.service}")


if __name__ == "__main__":
    main()
