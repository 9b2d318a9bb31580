"""What a network sees of images: a ResNet, and where in its last maps there is most."""
