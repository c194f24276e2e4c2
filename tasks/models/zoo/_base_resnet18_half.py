"""ResNetV1c-18 of half width at output stride 16: the parts shared by zoo models."""

norm = dict(type="SyncBN", requires_grad=True)
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    pretrained=None,
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        # At other sizes the last column of features reaches past the image, and logits, stretched
        # to its size, would lie up to 16 pixels off.
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type="ResNetV1c",
        depth=18,
        base_channels=32,
        stem_channels=32,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=norm,
        norm_eval=False,
        style="pytorch",
        contract_dilation=True,
    ),
    decode_head=dict(
        in_channels=256,
        in_index=3,
        channels=128,
        dropout_ratio=0.1,
        num_classes=11,
        norm_cfg=norm,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
