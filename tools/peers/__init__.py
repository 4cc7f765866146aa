"""This program compared with its peers and with its other commits: accuracy, speed, memory."""
