"""The published clean mIoU of a model's weights on an experiment's data."""

from segtransfer.errors import InputError
from segtransfer.tasks.data.mmseg import kinds_of_data
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.mmseg_configs import published
from segtransfer.tasks.models.spec import ModelSpec

SEMANTIC = "Semantic Segmentation"


def published_miou(model: ModelSpec, data: DataSpec) -> float | None:
    """Return the clean mIoU that mmsegmentation publishes for weights by name on the data.

    Args:
        model: The spec of the model.
        data: The spec of the experiment's data.

    Returns:
        Percent. None if the model has no weights by name, if its config tests on another kind of
        data set than the experiment, if the images are training images, or if classes are merged.
    """
    source = model.mmseg
    if source is None or source.weights is None or data.mmseg is None or data.split == "train":
        return None
    if data.label_map is not None or model.label_map is not None:
        return None
    try:
        same = kinds_of_data(source.config, "test") == kinds_of_data(data.mmseg, data.split)
    except InputError:  # a config without data: the images of the published score are unknown
        return None
    scores = [score for score in published(source.config).scores if score.task == SEMANTIC]
    return scores[0].miou if same and len(scores) == 1 else None
