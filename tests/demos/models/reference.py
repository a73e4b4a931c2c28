"""The pieces of the vision networks in NumPy float64, written out literally.

Images are `[batch, h, w, channels]`. A layer is the dictionary of its arrays, under the
names that Flax gives them.
"""

import numpy as np

EPSILON = 1e-5


def conv2d(x, kernel, stride=1, padding=0, groups=1):
    """`kernel` is `[kh, kw, channels_in / groups, channels_out]`."""
    height, width, inputs, channels_out = kernel.shape
    outputs = channels_out // groups
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = (x.shape[1] - height) // stride + 1
    columns = (x.shape[2] - width) // stride + 1
    y = np.zeros((x.shape[0], rows, columns, channels_out))
    for g in range(groups):
        group_in = x[..., g * inputs : (g + 1) * inputs]
        group_out = slice(g * outputs, (g + 1) * outputs)
        for row in range(rows):
            for column in range(columns):
                top, left = stride * row, stride * column
                window = group_in[:, top : top + height, left : left + width]
                y[:, row, column, group_out] = np.einsum(
                    "nijc,ijco->no", window, kernel[..., group_out]
                )
    return y


def batch_norm(x, norm, train):
    """Normalizes with the batch's statistics in training, else with `norm`'s own."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes) if train else norm["mean"]
    variance = ((x - mean) ** 2).mean(axes) if train else norm["var"]
    return norm["scale"] * (x - mean) / np.sqrt(variance + EPSILON) + norm["bias"]


def conv_norm(x, layer, train, stride=1, groups=1):
    """A convolution padded so that stride 1 keeps the size, then batch norm."""
    kernel = layer["conv"]["kernel"]
    padding = (kernel.shape[0] - 1) // 2
    return batch_norm(conv2d(x, kernel, stride, padding, groups), layer["norm"], train)


def relu(x):
    return np.where(x > 0, x, 0.0)


def relu6(x):
    return np.where(x > 6, 6.0, relu(x))


def max_pool(x, window, stride, padding):
    x = np.pad(
        x,
        ((0, 0), (padding, padding), (padding, padding), (0, 0)),
        constant_values=-np.inf,
    )
    rows = (x.shape[1] - window) // stride + 1
    columns = (x.shape[2] - window) // stride + 1
    y = np.zeros((x.shape[0], rows, columns, x.shape[3]))
    for row in range(rows):
        for column in range(columns):
            top, left = stride * row, stride * column
            y[:, row, column] = x[:, top : top + window, left : left + window].max(
                axis=(1, 2)
            )
    return y


def channel_shuffle(x, groups=2):
    """Output channel i is input channel i // groups of group i % groups."""
    channels = x.shape[-1]
    size = channels // groups
    order = [(i % groups) * size + i // groups for i in range(channels)]
    return np.stack([x[..., channel] for channel in order], axis=-1)


def global_average_pool(x):
    return x.sum(axis=(1, 2)) / (x.shape[1] * x.shape[2])


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]
