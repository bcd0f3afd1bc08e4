"""The playback page: replays a training frame by frame in a browser, without a server."""
