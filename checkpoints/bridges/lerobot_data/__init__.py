"""LeRobotDataset v3: demonstrations written for LeRobot.

layout.py       where everything lies in such a folder, and what its info.json says
columns.py      which of our quantities become which of LeRobot's features
statistics.py   of every feature, of an episode and of all
writing.py      a whole data set: written beside, then renamed
"""
