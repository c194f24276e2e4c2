"""The typed spec of inference: whole or by sliding windows, and its scale."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from segtransfer.tasks.schema import Frozen, Number, Whole

Sides = tuple[Annotated[Whole, Field(ge=1)], Annotated[Whole, Field(ge=1)]]


class Inference(Frozen):
    """The way of a network over an image: whole, or by sliding windows.

    Attributes:
        mode: ``whole``, or ``slide`` for windows whose logits are averaged.
        crop: [height, width] of a window in pixels; needed with ``slide``.
        stride: [rows, columns] between windows in pixels, at most ``crop``; needed with ``slide``.
        scale: The factor of both sides of the image before the network, with ``whole``, in (0, 4];
            rounded to multiples of the network's size divisor. Default 1.
    """

    mode: Literal["whole", "slide"]
    crop: Sides | None = None
    stride: Sides | None = None
    scale: Annotated[Number, Field(gt=0, le=4)] = 1.0

    @model_validator(mode="after")
    def _windows_fit(self) -> "Inference":
        given = [k for k in ("crop", "stride") if getattr(self, k) is not None]
        if self.mode == "whole" and given:
            raise PydanticCustomError(
                "inference",
                "mode is whole, and {given} is given; leave {given} out, or set mode: slide",
                {"given": " and ".join(given)},
            )
        if self.mode == "slide" and len(given) < 2:
            raise PydanticCustomError(
                "inference",
                "mode is slide; give crop and stride, each [height, width] in pixels",
                {},
            )
        if self.mode == "slide" and self.scale != 1:
            raise PydanticCustomError(
                "inference",
                "scale is {scale}, and mode slide processes the image at its own size; leave scale "
                "out, or set mode: whole",
                {"scale": f"{self.scale:g}"},
            )
        if self.window and any(s > c for c, s in zip(*self.window, strict=True)):
            raise PydanticCustomError(
                "inference",
                "stride {stride} exceeds crop {crop}, so windows would leave gaps; give a stride "
                "of at most the crop",
                {"stride": str(list(self.window[1])), "crop": str(list(self.window[0]))},
            )
        return self

    @property
    def window(self) -> tuple[Sides, Sides] | None:
        """Return crop and stride of sliding windows, each (height, width) in pixels.

        Returns:
            None if the image is processed whole.
        """
        return (self.crop, self.stride) if self.crop and self.stride else None
