"""A hand on an explorable: it drags by mouse or finger, and reads what is in view."""

import torch
from torch.nn import functional as F


def middle(handle):
    box = handle.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, handle, right=0, down=0):
    x, y = middle(handle)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + right, y + down, steps=4)
    page.mouse.up()


def touch(page, handle, right):
    x, y = middle(handle)
    finger = page.context.new_cdp_session(page)
    finger.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, way in (("touchStart", [0]), ("touchMove", [right / 3]), ("touchMove", [right]), ("touchEnd", [])):
        points = [{"x": x + part, "y": y} for part in way]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(50)  # as a hand does
    finger.send("Emulation.setTouchEmulationEnabled", {"enabled": False})


def numbers(place, row):
    """The numbers of a row of the table in view."""
    cells = place.locator(f"tr:has(th:text-is('{row}')) td").all_inner_texts()
    return torch.tensor([float(cell) for cell in cells], dtype=torch.float64)


def in_view(place):
    """What one_batch shows in training is what torch computes of the values in view; return these."""
    X = numbers(place, "X")
    Y = F.batch_norm(X[:, None], None, None, training=True)[:, 0]
    torch.testing.assert_close(numbers(place, "Y"), Y, rtol=0, atol=0.0051)
    return X.tolist()


def sentence(place):
    return place.locator("[role=status]").inner_text()


def mouse_key_and_finger(page, place):
    """Move one_batch's values in three ways; each time the outputs move, and the numbers in view are torch's."""
    handle = place.get_by_role("slider", name="value 2 of 5")
    assert in_view(place) == [1, 2, 4, 5, 8]  # what it shows at first
    drag(page, handle, right=40)
    dragged = in_view(place)
    assert dragged[1] > 2
    handle.press("ArrowRight")
    pressed = in_view(place)
    assert pressed[1] == round(dragged[1] + 0.1, 6)
    touch(page, handle, right=-60)
    page.wait_for_timeout(200)  # a browser takes its time with a finger
    touched = in_view(place)
    assert touched[1] < 2  # the finger was followed to its end: further than the mouse went
    assert touched[:1] + touched[2:] == [1, 4, 5, 8]
    assert sentence(place) == "You moved 1 of 5 values: 5 of 5 outputs moved."
    return touched
