_base_ = "./_base_resnet18_half.py"
model = dict(decode_head=dict(type="ASPPHead", dilations=(1, 6, 12, 18)))
