"""The playback page: a training to watch again, frame by frame, in a browser and without a
server.
"""
