"""The 1-D U-Net for a GPU: channels last, convolutions as matrix products, few kernels."""
