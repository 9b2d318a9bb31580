"""LeRobotDataset v3: demonstrations read from and written for LeRobot.

layout.py       where everything lies in such a folder
description.py  what its info.json says
episodes.py     where each episode lies
pictures.py     images from cells and videos
frames.py       all of it, episode by episode
reading.py      as training data
converting.py   as a zarr group of ours
columns.py      which of our quantities become which of LeRobot's features
statistics.py   of every feature, of an episode and of all
tables.py       the tables that are written
writing.py      a whole data set: written beside, then renamed
"""
