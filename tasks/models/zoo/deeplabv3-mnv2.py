_base_ = "./_base_mobilenet_v2.py"
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 6, 12, 18)))
