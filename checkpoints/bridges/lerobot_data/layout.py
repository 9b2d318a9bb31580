"""The files of a LeRobotDataset.

Version 3:

meta/info.json                                 features, rate, numbers of episodes and frames
meta/stats.json                                statistics of all frames
meta/tasks.parquet                             the instructions in words
meta/episodes/chunk-000/file-000.parquet       one row per episode: its begin and end, its statistics
data/chunk-000/file-000.parquet                one row per frame; several episodes share a file
videos/KEY/chunk-000/file-000.mp4              the videos of a camera, if images are stored as videos
paradp.yaml                                    written by paradp: facts that LeRobot's files lack, see `paradp.bridges.Facts`

Versions 2.0 and 2.1 have a file for each episode:

meta/info.json
meta/episodes.jsonl                            one line per episode: number, length
data/chunk-000/episode_000000.parquet
videos/chunk-000/KEY/episode_000000.mp4
"""

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES = f"meta/episodes/{PLACE}.parquet"
DATA = f"data/{PLACE}.parquet"
VIDEOS = f"videos/{{video_key}}/{PLACE}.mp4"
OLD = ("v2.0", "v2.1")
OLD_EPISODES = "meta/episodes.jsonl"
OLD_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
OLD_VIDEOS = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
# LeRobot's own sizes.
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
