"""LeRobotDataset: reads versions 2 and 3, and writes version 3.

layout.py       where everything lies in such a folder
description.py  what its info.json says
episodes.py     where each episode lies
pictures.py     decodes images and videos
images.py       images by frame
frames.py       all of it, episode by episode
reading.py      as training data
columns.py      which of our quantities become which of LeRobot's features
statistics.py   of every feature, of an episode and of all
tables.py       the tables that are written
writing.py      a whole data set: written beside, then renamed
"""
