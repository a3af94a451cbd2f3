"""How to talk: requests into bytes, bytes into events; `where` is somebody else's matter."""
