import gc
import weakref

import numpy as np
import pytest
import torch

from segtransfer.tasks import batching
from segtransfer.tasks.batching import LARGE, fitting_memory, in_micro_batches, upload
from segtransfer.tasks.evaluate import evaluate
from tests.tasks.cases import annotations, pictures, toy


class Allocator:
    """Work that holds at most ``room`` images at once, and remembers what it was asked."""

    def __init__(self, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room, self.error = room, error
        self.asked: list[tuple[int, int]] = []

    def __call__(self, part: slice) -> list[int]:
        self.asked.append((part.start, part.stop))
        if part.stop - part.start > self.room:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried 1 byte")
        return list(range(part.start, part.stop))


@pytest.mark.parametrize("count", [1, 4, 7])
@pytest.mark.parametrize("room", [1, 2, 3, 8])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_every_image_is_done_once_and_in_order_however_little_memory_there_is(
    count: int, room: int, error: type[RuntimeError]
) -> None:
    results = in_micro_batches(Allocator(room, error), count, 4)
    assert [image for result in results for image in result] == list(range(count))


def test_halved_micro_batch_is_kept_for_later_slices() -> None:
    work = Allocator(room=3)
    in_micro_batches(work, 10, 8)
    assert work.asked == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]


@pytest.mark.parametrize(("free", "batches"), [(10**12, 4), (350, 2), (200, 1), (1, 1)])
def test_the_first_large_image_goes_alone_and_its_peak_bounds_the_rest(
    free: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image takes 100 bytes, and four fifths of the free memory may be taken."""
    monkeypatch.setattr(batching, "start_of_peak", lambda device: 0)
    monkeypatch.setattr(batching, "peak_since", lambda base, device: 100)
    monkeypatch.setattr(batching, "room", lambda device: free)
    fitting = fitting_memory(np.zeros((9, 3, 1, LARGE), np.uint8), torch.device("cpu"))
    work = Allocator(room=8)
    results = in_micro_batches(work, 9, 4, fitting)
    assert [image for result in results for image in result] == list(range(9))
    assert work.asked[0] == (0, 1)
    assert max(stop - start for start, stop in work.asked) == batches


def test_small_images_are_not_measured() -> None:
    small = np.zeros((9, 3, 240, 320), np.uint8)
    assert fitting_memory(small, torch.device("cpu")) is None


def test_scores_of_large_images_do_not_depend_on_the_measurement() -> None:
    model = toy("convolutional")
    images, labels = pictures(3, 700, 800), annotations(3, 700, 800, 3)
    whole = evaluate(model, images, labels, num_classes=3, micro_batch=3)
    alone = evaluate(model, images, labels, num_classes=3, micro_batch=1)
    assert np.array_equal(whole.predictions, alone.predictions)


def test_one_image_that_does_not_fit_is_the_allocators_own_error() -> None:
    work = Allocator(room=0)
    with pytest.raises(torch.OutOfMemoryError):
        in_micro_batches(work, 4, 4)
    assert work.asked == [(0, 4), (0, 2), (0, 1)]


def test_another_error_is_not_tried_again() -> None:
    asked = []

    def broken(part: slice) -> None:
        asked.append(part)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        in_micro_batches(broken, 4, 4)
    assert len(asked) == 1


def test_memory_of_a_failed_try_is_freed_before_the_next() -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    gc.disable()  # a cycle would keep the tensors until some later collection

    def work(part: slice) -> None:
        assert all(reference() is None for reference in held)
        activations = torch.zeros(part.stop - part.start)
        held.append(weakref.ref(activations))
        if len(activations) > 1:
            raise torch.OutOfMemoryError("out of memory")

    try:
        in_micro_batches(work, 2, 2)
    finally:
        gc.enable()
    assert len(held) == 3


def test_scores_are_equal_after_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = toy("convolutional")
    images, labels = pictures(5, 11, 13), annotations(5, 11, 13, 3)
    whole = evaluate(model, images, labels, num_classes=3, micro_batch=4)
    logits = type(model).logits

    def cramped(self: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits(self, images)

    monkeypatch.setattr(type(model), "logits", cramped)
    again = evaluate(model, images, labels, num_classes=3, micro_batch=4)
    assert np.array_equal(again.predictions, whole.predictions)
    assert np.array_equal(again.confusions, whole.confusions)


def test_bytes_are_uploaded_as_bytes_and_are_a_copy() -> None:
    array = pictures(1, 4, 4)
    array.setflags(write=False)
    tensor = upload(array, torch.device("cpu"))
    assert tensor.dtype == torch.uint8
    tensor.zero_()
    assert array.any()
