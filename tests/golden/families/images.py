import torch.nn.functional as F


def conv2d(f):
    f.case("padding", lambda x, w, b: F.conv2d(x, w, b, padding=1),
           dict(x=f.normal(2, 3, 5, 4), w=f.normal(4, 3, 3, 3), b=f.normal(4)))
    f.case("stride", lambda x, w: F.conv2d(x, w, stride=(2, 1), padding=(0, 2)),
           dict(x=f.normal(1, 4, 6, 5), w=f.normal(3, 4, 2, 3)))
    f.case("dilation", lambda x, w: F.conv2d(x, w, dilation=2, padding=2),
           dict(x=f.normal(1, 2, 6, 6), w=f.normal(3, 2, 3, 3)))
    f.case("groups", lambda x, w, b: F.conv2d(x, w, b, groups=2),
           dict(x=f.normal(1, 4, 4, 4), w=f.normal(6, 2, 3, 3), b=f.normal(6)))


def conv_more(f):
    f.case("same", lambda x, w, b: F.conv2d(x, w, b, padding="same", dilation=(1, 2)),
           dict(x=f.normal(1, 2, 5, 6), w=f.normal(3, 2, 2, 3), b=f.normal(3)))
    f.case("one_dimension", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1),
           dict(x=f.normal(2, 3, 9), w=f.normal(4, 3, 3), b=f.normal(4)))
    f.case("transposed", lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
           dict(x=f.normal(1, 3, 4, 3), w=f.normal(3, 2, 3, 3), b=f.normal(2)))
    f.case("transposed_groups", lambda x, w: F.conv_transpose2d(x, w, stride=(1, 2), dilation=(2, 1), groups=2),
           dict(x=f.normal(2, 4, 3, 3), w=f.normal(4, 3, 2, 3)))
    f.case("transposed_output_padding", lambda x, w: F.conv_transpose2d(x, w, dilation=3, output_padding=2),
           dict(x=f.normal(1, 2, 3, 3), w=f.normal(2, 2, 2, 2)))
    f.case("transposed_one_dimension", lambda x, w, b: F.conv_transpose1d(x, w, b, stride=3, padding=1),
           dict(x=f.normal(2, 3, 4), w=f.normal(3, 2, 4), b=f.normal(2)))
    f.case("transposed_more_than_stride", lambda x, w, b: F.conv_transpose2d(
        x, w, b, stride=(1, 2), padding=(1, 2), output_padding=(2, 3), dilation=(3, 4)),
           dict(x=f.normal(2, 2, 3, 4), w=f.normal(2, 3, 2, 3), b=f.normal(3)))
    f.case("transposed_more_than_padding", lambda x, w, b: F.conv_transpose1d(
        x, w, b, padding=1, output_padding=3, dilation=4), dict(x=f.normal(1, 2, 5), w=f.normal(2, 2, 3), b=f.normal(2)))


def pool(f):
    f.case("max_ceil", lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), dict(x=f.normal(1, 2, 6, 7)))
    f.case("max_dilation", lambda x: F.max_pool2d(x, (3, 2), (2, 1), 1, (2, 3)), dict(x=f.normal(1, 2, 8, 9)))
    f.case("max_one_dimension", lambda x: F.max_pool1d(x, 3, 2), dict(x=f.normal(2, 2, 9)))
    f.case("average", lambda x: F.avg_pool2d(x, (2, 3), (1, 2)), dict(x=f.normal(2, 3, 4, 7)))
    f.case("average_padding", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True), dict(x=f.normal(1, 2, 6, 7)))
    f.case("average_inside", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
           dict(x=f.normal(1, 2, 6, 7)))
    f.case("average_divisor", lambda x: F.avg_pool2d(x, 2, divisor_override=3), dict(x=f.normal(1, 2, 4, 5)))
    f.case("average_one_dimension", lambda x: F.avg_pool1d(x, 3, 2, 1), dict(x=f.normal(2, 2, 9)))
    f.case("adaptive_average", lambda x: F.adaptive_avg_pool2d(x, (3, 4)), dict(x=f.normal(2, 2, 7, 5)))
    f.case("adaptive_max", lambda x: F.adaptive_max_pool2d(x, (3, 2)), dict(x=f.normal(2, 2, 7, 5)))
    f.case("global_average", lambda x: F.adaptive_avg_pool2d(x, 1), dict(x=f.normal(2, 3, 4, 5)))


def resample(f):
    f.case("nearest", lambda x: F.interpolate(x, scale_factor=2), dict(x=f.normal(1, 2, 3, 4)))
    f.case("nearest_size", lambda x: F.interpolate(x, size=(7, 4)), dict(x=f.normal(1, 2, 5, 3)))
    f.case("bilinear", lambda x: F.interpolate(x, scale_factor=(1.5, 2.5), mode="bilinear", align_corners=False),
           dict(x=f.normal(1, 2, 4, 3)))
    f.case("bilinear_corners", lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
           dict(x=f.normal(2, 2, 3, 5)))
    f.case("bilinear_smaller", lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", align_corners=False),
           dict(x=f.normal(1, 2, 7, 6)))
    # Sizes that stay are copied whatever the factor, and coordinates of nearest neighbours are floats.
    f.case("nearest_same", lambda x: F.interpolate(x, scale_factor=(1.1, 2)), dict(x=f.normal(1, 1, 7, 3)))
    f.case("bilinear_same", lambda x: F.interpolate(x, scale_factor=(1.1, 1.5), mode="bilinear", align_corners=False),
           dict(x=f.normal(1, 1, 7, 4)))
    f.case("nearest_rounding", lambda x: F.interpolate(x, scale_factor=(0.6, 1 / 3)), dict(x=f.normal(1, 1, 8, 21)))


def max_pool(f):
    f.case("plain", lambda x: F.max_pool2d(x, 2), dict(x=f.normal(2, 3, 4, 6)))
    f.case("overlap", lambda x: F.max_pool2d(x, 3, 2, 1), dict(x=f.normal(1, 2, 7, 6)))


FAMILIES = [conv2d, conv_more, max_pool, pool, resample]
