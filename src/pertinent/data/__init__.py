"""Pictures and labels: decoding, transforms, data set readers and batch samplers."""
