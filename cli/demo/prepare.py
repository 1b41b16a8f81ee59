"""Writes the breast cancer data set that ships inside scikit-learn as two CSV
files: data/train.csv and data/heldout.csv, a fifth of the rows each class."""
import pathlib
import sys

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
frame = load_breast_cancer(as_frame=True).frame
train, heldout = train_test_split(frame, test_size=0.2, stratify=frame["target"], random_state=7)
train.to_csv(out / "train.csv", index=False)
heldout.to_csv(out / "heldout.csv", index=False)
