"""DETR's loss against brute force and arithmetic done by hand."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from shapes.training.detr_loss import Targets, generalized_iou, set_loss, token_loss

NO_OBJECT, CLASSES = 3, 4


def _by_hand(logits: torch.Tensor, boxes: torch.Tensor, targets: Targets) -> float:
    """The loss of one set of predictions of one image, over every possible matching."""
    count, queries = targets.counts[0], logits.shape[0]
    best: tuple[float, float] = (float("inf"), 0.0)
    for chosen in permutations(range(queries), count):
        cost, box_loss = 0.0, 0.0
        wanted = torch.full((queries,), NO_OBJECT)
        for item, query in enumerate(chosen):
            true, label = targets.boxes[0, item], int(targets.labels[0, item])
            overlap = float(generalized_iou(boxes[query], true))
            distance = float((boxes[query] - true).abs().sum())
            cost += 5 * distance - 2 * overlap - float(logits[query].softmax(0)[label])
            box_loss += (5 * distance + 2 * (1 - overlap)) / count
            wanted[query] = label
        weight = torch.where(wanted == NO_OBJECT, 0.1, 1.0)
        surprise = -logits.log_softmax(1)[torch.arange(queries), wanted]
        class_loss = float((weight * surprise).sum() / weight.sum())
        best = min(best, (cost, class_loss + box_loss))
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_set_loss_equals_brute_force_matching(seed: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(2, 1, 5, CLASSES)
    boxes = torch.rand(2, 1, 5, 4) * 0.4 + 0.2
    targets = Targets(torch.rand(1, 3, 4) * 0.4 + 0.2, torch.tensor([[2, 0, 2]]), [3])
    expected = sum(_by_hand(logits[k, 0], boxes[k, 0], targets) for k in range(2))
    # Sums of a few float32 numbers of order 1.
    assert float(set_loss(logits, boxes, targets)) == pytest.approx(expected, rel=1e-5)


def test_perfect_predictions_lose_nothing() -> None:
    true = torch.tensor([[[0.3, 0.4, 0.2, 0.2], [0.7, 0.6, 0.3, 0.1]]])
    targets = Targets(true, torch.tensor([[1, 2]]), [2])
    logits = torch.full((1, 1, 3, CLASSES), -50.0)
    for query, label in enumerate((2, NO_OBJECT, 1)):
        logits[0, 0, query, label] = 50.0
    boxes = torch.stack([true[0, 1], torch.full((4,), 0.5), true[0, 0]])[None, None]
    # The 1e-7 that keeps GIoU's quotients finite, against areas of about 0.03.
    assert float(set_loss(logits, boxes, targets)) == pytest.approx(0.0, abs=1e-4)


def test_padded_targets_do_not_count() -> None:
    torch.manual_seed(0)
    logits, boxes = torch.randn(1, 2, 6, CLASSES), torch.rand(1, 2, 6, 4) * 0.4 + 0.2
    true, labels = torch.rand(2, 3, 4) * 0.4 + 0.2, torch.tensor([[0, 1, 2], [1, 0, 0]])
    loss = set_loss(logits, boxes, Targets(true, labels, [3, 1]))
    true[1, 1:], labels[1, 1:] = 0.9, 2
    assert torch.equal(loss, set_loss(logits, boxes, Targets(true, labels, [3, 1])))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param((0.5, 0.5, 0.2, 0.2), (0.5, 0.5, 0.2, 0.2), 1.0, id="same box"),
        pytest.param((0.4, 0.5, 0.2, 0.2), (0.5, 0.5, 0.2, 0.2), 1 / 3, id="half overlap"),
        pytest.param((0.1, 0.5, 0.2, 0.2), (0.5, 0.5, 0.2, 0.2), -1 / 3, id="one box apart"),
    ],
)
def test_generalized_iou(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    found = float(generalized_iou(torch.tensor(first), torch.tensor(second)))
    # The 1e-7 that keeps quotients finite, against areas of 0.04.
    assert found == pytest.approx(expected, abs=1e-5)


def test_token_at_the_centre_of_an_object_must_name_it() -> None:
    # A 2 x 3 grid of tokens of which the last column is padding: the image is 2 x 2 tokens.
    mask = torch.tensor([[[True, True, False], [True, True, False]]])
    targets = Targets(torch.tensor([[[0.7, 0.8, 0.2, 0.2]]]), torch.tensor([[1]]), [1])
    logits = torch.full((1, 6, CLASSES), -50.0)
    logits[..., NO_OBJECT] = 50.0
    boxes = torch.full((1, 6, 4), 0.5)
    missed = token_loss(logits, boxes, mask, targets)
    logits[0, 4] = torch.tensor([-50.0, 50.0, -50.0, -50.0])
    boxes[0, 4] = targets.boxes[0, 0]
    # As in the perfect predictions above.
    assert float(token_loss(logits, boxes, mask, targets)) == pytest.approx(0.0, abs=1e-4)
    assert float(missed) > 10
