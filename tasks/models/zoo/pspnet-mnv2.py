_base_ = "./_base_mobilenet_v2.py"
model = dict(decode_head=dict(type="PSPHead", pool_scales=(1, 2, 3, 6)))
