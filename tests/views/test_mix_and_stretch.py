"""Channel mixes and contrast ranges by themselves."""

import dask.array as da
import numpy as np
import pytest

from napari_relay.errors import UsageError
from napari_relay.sources import open_image
from napari_relay.views.mix import ChannelMix, channel_mix, default_mix
from napari_relay.views.stretch import Stretch, measure_stretch


def image_with(channels, dtype=np.uint16):
    return open_image(np.zeros((20, 20, channels) if channels > 1 else (20, 20), dtype))


@pytest.mark.parametrize(
    ("channels", "weights"),
    [
        (1, ((1,), (1,), (1,))),
        (2, ((1, 0), (0, 1), (0.5, 0.5))),
        (3, ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        (4, ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0))),
        (6, ((1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0))),
    ],
)
def test_default_mix_of_n_channels(channels, weights):
    assert default_mix(image_with(channels)).weights == weights


def test_chosen_channels_by_index_and_name():
    source = open_image(np.zeros((20, 20, 5), np.uint16), channel_names=("a", "b", "c", "d", "e"))

    assert channel_mix(source, ["e", 0, "c"]).picks == (4, 0, 2)
    assert channel_mix(source, ["e"]).grey
    assert channel_mix(source, [1], gains=[2]).used == (1,)
    assert channel_mix(source, [1, 2]).picks is None


@pytest.mark.parametrize("chosen", [[5], [-1], ["dapi"], [], [0, 1, 2, 3]])
def test_channels_that_do_not_exist_are_refused(chosen):
    with pytest.raises(UsageError, match="channel"):
        channel_mix(image_with(5), chosen)


def test_gains_must_match_and_weights_must_be_finite():
    with pytest.raises(UsageError, match="gains"):
        channel_mix(image_with(5), [1, 2], gains=[1])
    with pytest.raises(UsageError, match="finite"):
        ChannelMix(((np.nan,), (1.0,), (1.0,)))
    with pytest.raises(UsageError, match="three rows"):
        ChannelMix(((1.0,), (1.0, 2.0), (1.0,)))


def test_hashes_tell_mixes_and_stretches_apart():
    source = image_with(4)
    mixes = [default_mix(source), channel_mix(source, [0]), channel_mix(source, [1]), channel_mix(source, [0], [2])]
    stretches = [Stretch.none(4), Stretch((0.0,) * 4, (254.0,) * 4), Stretch((1.0,) * 4, (255.0,) * 4)]

    assert len({mix.hash for mix in mixes}) == 4
    assert len({stretch.hash for stretch in stretches}) == 3
    assert default_mix(image_with(4)).hash == mixes[0].hash


def test_only_8_bit_rgb_is_not_stretched():
    grey = np.random.default_rng(0).integers(50, 100, (50, 50), np.uint8)

    assert measure_stretch(open_image(np.stack([grey] * 3, axis=-1))).is_none
    assert measure_stretch(open_image(grey)).lo[0] == pytest.approx(50, abs=1)
    assert not measure_stretch(open_image(np.stack([grey] * 3, axis=-1).astype(np.uint16))).is_none


def test_each_channel_has_its_own_range():
    ramp = np.linspace(0, 1, 10_000).reshape(100, 100)
    source = open_image(np.stack([ramp * 1000, ramp * 10 + 5], axis=-1).astype(np.float32))

    stretch = measure_stretch(source)

    assert stretch.lo == pytest.approx((1, 5.01), abs=0.1)
    assert stretch.hi == pytest.approx((999, 14.99), abs=0.1)


def test_few_bright_pixels_on_a_constant_ground_set_the_range():
    image = np.zeros((500, 500), np.uint16)
    image[3, 4] = 900

    assert measure_stretch(open_image(image)) == Stretch((0.0,), (900.0,))


def test_with_a_pyramid_only_the_coarsest_level_is_read():
    touched = []

    def level(side, value):
        def block(block_info=None):
            touched.append(side)
            return np.full((side, side), value, np.uint16)

        return da.map_blocks(block, chunks=((side,), (side,)), dtype=np.uint16, meta=np.empty((0, 0), np.uint16))

    source = open_image([level(4096, 1), level(1024, 2), level(256, 3)])
    touched.clear()

    assert measure_stretch(source).lo == (3.0,)
    assert set(touched) == {256}


def test_large_image_without_a_pyramid_is_measured_on_64_tiles_of_a_fixed_grid():
    blocks = set()

    def block(block_info=None):
        place = block_info[None]["array-location"]
        blocks.add((place[0][0], place[1][0]))
        return np.full((128, 128), 9, np.uint8)

    huge = da.map_blocks(block, chunks=((128,) * 160, (128,) * 160), dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    source = open_image(huge)
    blocks.clear()

    assert measure_stretch(source).lo == (9.0,)
    assert 64 * 4 <= len(blocks) <= 64 * 9


@pytest.mark.parametrize(("lo", "hi"), [((1.0,), (1.0,)), ((2.0,), (1.0,)), ((0.0,), (np.inf,)), ((), ())])
def test_empty_ranges_are_refused(lo, hi):
    with pytest.raises(UsageError, match="contrast"):
        Stretch(lo, hi)
