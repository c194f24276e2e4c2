_base_ = "./_base_resnet18_half.py"
model = dict(decode_head=dict(type="PSPHead", pool_scales=(1, 2, 3, 6)))
