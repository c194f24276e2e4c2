"""SegFormer on a MiT narrower than B0, trained from scratch; the zoo's attention model."""

_base_ = "./_base_resnet18_half.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="MixVisionTransformer",
        in_channels=3,
        embed_dims=24,
        num_stages=4,
        num_layers=(2, 2, 2, 2),
        num_heads=(1, 2, 5, 8),
        patch_sizes=(7, 3, 3, 3),
        sr_ratios=(8, 4, 2, 1),
        out_indices=(0, 1, 2, 3),
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        type="SegformerHead",
        in_channels=(24, 48, 120, 192),
        in_index=(0, 1, 2, 3),
        channels=128,
    ),
)
