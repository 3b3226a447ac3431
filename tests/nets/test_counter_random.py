import torch

from marscf.nets.counter_random import bits, keys_of


def images(n: int) -> torch.Tensor:
    return torch.randint(256, (n, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_function_of_the_image_alone():
    x = images(50)
    keys = keys_of(x)
    assert len(keys.unique()) == 50
    assert torch.equal(keys_of(x[7:8]), keys[7:8])
    assert torch.equal(bits(keys, 3, 100)[7:8], bits(keys[7:8], 3, 100))


def test_order_and_value_of_the_pixels_count():
    x = images(1)
    assert not torch.equal(keys_of(x), keys_of(x.flip(-1)))
    y = x.clone()
    y[0, 0, 0, 0] += 1
    assert not torch.equal(keys_of(x), keys_of(y))


def test_bits_are_fair_and_independent():
    keys = keys_of(images(200))
    drawn = torch.stack([bits(keys, stream, 500) for stream in range(2)])  # 200,000 numbers
    uniform = drawn.double() / 2**32
    assert abs(uniform.mean() - 0.5) < 0.003 and abs(uniform.var() - 1 / 12) < 0.001
    signs = (drawn & 1).double() * 2 - 1
    assert abs(signs.mean()) < 0.01
    for other in (signs.roll(1, 0), signs.roll(1, 1), signs.roll(1, 2)):
        assert abs((signs * other).mean()) < 0.012
