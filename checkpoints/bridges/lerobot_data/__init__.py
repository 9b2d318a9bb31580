"""LeRobotDataset: reads versions 2 and 3, and writes version 3.

layout.py       names of the files and columns
description.py  reads info.json
episodes.py     finds the files and frames of each episode
pictures.py     decodes images and videos
images.py       reads images by frame
frames.py       reads the data set, episode by episode
reading.py      opens a data set as training data
columns.py      maps paradp's quantities to LeRobot's features
statistics.py   statistics of each feature, per episode and in total
tables.py       writes the tables
writing.py      writes a data set
remarks.py      remarks on oddities of a data set
"""
