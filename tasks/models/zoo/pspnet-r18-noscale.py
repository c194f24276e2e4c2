_base_ = "./pspnet-r18.py"
