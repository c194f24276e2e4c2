"""The zoo's pspnet-r18 at output stride 8; a config for a study, not a model of the zoo."""

_base_ = "../../tasks/models/zoo/pspnet-r18.py"
model = dict(backbone=dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)))
