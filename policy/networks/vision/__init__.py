"""Image encoders: a ResNet with spatial softmax."""
