"""Paths of the files in a LeRobotDataset v3.

meta/info.json                                 features, rate, numbers of episodes and frames
meta/stats.json                                statistics of all frames
meta/tasks.parquet                             instructions, as texts
meta/episodes/chunk-000/file-000.parquet       one row per episode: its begin and end, and its statistics
data/chunk-000/file-000.parquet                one row per frame; several episodes share a file
videos/KEY/chunk-000/file-000.mp4              for images that are stored as videos
paradp.yaml                                    written by paradp: facts that LeRobot's files lack, see `paradp.bridges.Facts`
"""

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES = f"meta/episodes/{PLACE}.parquet"
DATA = f"data/{PLACE}.parquet"
VIDEOS = f"videos/{{video_key}}/{PLACE}.mp4"
# Limits of file sizes, as in LeRobot.
FILES_A_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200

STATE, ENVIRONMENT, IMAGES, ACTION = "observation.state", "observation.environment_state", "observation.images.", "action"
# Columns of every data set, with one number per frame.
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def place(pattern: str, number: int) -> str:
    """Returns the name of a file, counted from 0 over all chunks."""
    return pattern.format(chunk_index=number // FILES_A_CHUNK, file_index=number % FILES_A_CHUNK)
