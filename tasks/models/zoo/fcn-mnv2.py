_base_ = "./_base_mobilenet_v2.py"
model = dict(decode_head=dict(type="FCNHead", num_convs=2, kernel_size=3, concat_input=True))
