"""LeRobotDataset v3: demonstrations read from and written for LeRobot.

layout.py       paths of the files in a data set's folder
description.py  reads info.json
episodes.py     finds the files and rows of each episode
pictures.py     images from table cells and videos
frames.py       reads the frames, episode by episode
reading.py      the data set as training data
converting.py   converts it to paradp's zarr format
columns.py      maps paradp's observations and actions to LeRobot's features
statistics.py   statistics of features, for one episode and for all
tables.py       writes the tables
writing.py      writes a whole data set in a temporary folder, then renames it
"""
