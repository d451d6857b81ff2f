"""Answers about pictures are kept, given again, and let go."""

from dataclasses import dataclass

import numpy as np
import pytest

from sketchcolor.remembering import remembered


@dataclass(frozen=True)
class Answer:
    mask: np.ndarray
    others: tuple[np.ndarray, ...] = ()
    sure: float = 1.0


def asked(megabytes, shape=(10, 10)):
    calls = []

    @remembered(megabytes)
    def look(image, limit=0.5, *, quick=False):
        calls.append((limit, quick))
        return Answer(np.full(shape, image.mean() > limit), (np.zeros(shape, np.uint8),))

    return look, calls


def test_the_same_question_is_answered_once():
    look, calls = asked(1)
    image = np.ones((4, 4))
    first = look(image)
    assert look(image.copy()) is first and look(np.asfortranarray(image)) is first
    for other in (image * 0, image.astype(np.float32), image.reshape(2, 8)):
        assert look(other) is not first
    assert look(image, 2.0) is not first and look(image, quick=True) is not first
    assert len(calls) == 6 and look(image) is first


def test_what_is_kept_cannot_be_written_to():
    look, _ = asked(1)
    found = look(np.ones((4, 4)))
    for array in (found.mask, *found.others):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_oldest_answers_are_let_go():
    look, calls = asked(0.02, (50, 90))  # two answers of 9 kB
    images = [np.full((2, 2), float(i)) for i in range(3)]
    look(images[0]), look(images[1]), look(images[0]), look(images[2])
    assert len(calls) == 3
    look(images[0])
    assert len(calls) == 3  # asked for again: kept
    look(images[1])
    assert len(calls) == 4
    look, calls = asked(0.001, (50, 90))
    assert look(images[0]) is not look(images[0])  # larger than all that may be kept
