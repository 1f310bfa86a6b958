"""Recordings as labs publish them: readers from files to sessions of images and responses, and one open format."""

from cotrain.data.recordings._brain_observatory import read_brain_observatory
from cotrain.data.recordings._cadena2024 import read_cadena2024
from cotrain.data.recordings._cadieu2014 import read_cadieu2014
from cotrain.data.recordings._cowley2023 import read_cowley2023
from cotrain.data.recordings._folder import load_recording, save_recording
from cotrain.data.recordings._formats import Format, detect_format, read_recording
from cotrain.data.recordings._majaj2015 import read_majaj2015_h5
from cotrain.data.recordings._recording import Recording, Session, StoredImages
from cotrain.data.recordings._sinz_pickles import read_sinz_pickles
from cotrain.data.recordings._time_bins import sum_bins

__all__ = [
    "Format",
    "Recording",
    "Session",
    "StoredImages",
    "detect_format",
    "load_recording",
    "read_brain_observatory",
    "read_cadena2024",
    "read_cadieu2014",
    "read_cowley2023",
    "read_majaj2015_h5",
    "read_recording",
    "read_sinz_pickles",
    "save_recording",
    "sum_bins",
]
